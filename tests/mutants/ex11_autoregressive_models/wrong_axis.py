"""the sum is over the context, not over the token that follows"""


def ngram_probabilities(ids, n, V, alpha):
    counts = np.zeros((V,) * n)
    np.add.at(counts, tuple(ids[k : len(ids) - n + 1 + k] for k in range(n)), 1)
    return (counts + alpha) / (counts.sum(axis=0, keepdims=True) + alpha * V)
