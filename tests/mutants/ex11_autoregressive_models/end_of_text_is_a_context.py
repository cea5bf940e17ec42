"""the last n − 1 tokens are counted as a context, but nothing follows them"""


def ngram_probabilities(ids, n, V, alpha):
    counts = np.zeros((V,) * n)
    np.add.at(counts, tuple(ids[k : len(ids) - n + 1 + k] for k in range(n)), 1)
    contexts = np.zeros((V,) * (n - 1) + (1,))
    for i in range(len(ids) - n + 2):
        contexts[tuple(ids[i : i + n - 1])] += 1
    return (counts + alpha) / (contexts + alpha * V)
