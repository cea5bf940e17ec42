"""the weights of all rows together sum to 1, not those of each"""


def softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()
