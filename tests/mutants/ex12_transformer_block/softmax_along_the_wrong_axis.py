"""the softmax runs along the wrong axis"""


def softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum(axis=0)
