"""one number is subtracted from all rows, and small rows underflow"""


def softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum(axis=-1, keepdims=True)
