"""the n-grams are cut side by side; they overlap, one starts at each token"""


def ngram_probabilities(ids, n, V, alpha):
    counts = np.zeros((V,) * n)
    for i in range(0, len(ids) - n + 1, n):
        counts[tuple(ids[i : i + n])] += 1
    return (counts + alpha) / (counts.sum(axis=-1, keepdims=True) + alpha * V)
