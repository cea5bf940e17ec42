"""an n-gram that occurs several times is counted once; counts[...] += 1 does that with arrays"""


def ngram_probabilities(ids, n, V, alpha):
    counts = np.zeros((V,) * n)
    counts[tuple(ids[k : len(ids) - n + 1 + k] for k in range(n))] += 1
    return (counts + alpha) / (counts.sum(axis=-1, keepdims=True) + alpha * V)
