"""what is subtracted is not the row's own largest score, and small rows underflow"""


def softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum(axis=-1, keepdims=True)
