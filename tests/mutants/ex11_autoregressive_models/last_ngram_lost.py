"""the last n-gram of the text is not counted"""


def ngram_probabilities(ids, n, V, alpha):
    counts = np.zeros((V,) * n)
    for i in range(len(ids) - n):
        counts[tuple(ids[i : i + n])] += 1
    return (counts + alpha) / (counts.sum(axis=-1, keepdims=True) + alpha * V)
