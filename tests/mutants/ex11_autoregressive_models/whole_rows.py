"""an array as an index picks whole rows of the table; a tuple picks one cell"""


def ngram_probabilities(ids, n, V, alpha):
    counts = np.zeros((V,) * n)
    for i in range(len(ids) - n + 1):
        counts[ids[i : i + n]] += 1
    return (counts + alpha) / (counts.sum(axis=-1, keepdims=True) + alpha * V)
