"""it is divided by all n-grams of the text, not by those with the same context"""


def ngram_probabilities(ids, n, V, alpha):
    counts = np.zeros((V,) * n)
    np.add.at(counts, tuple(ids[k : len(ids) - n + 1 + k] for k in range(n)), 1)
    return (counts + alpha) / (counts + alpha).sum()
