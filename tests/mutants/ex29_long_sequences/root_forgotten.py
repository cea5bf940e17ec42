"""the scores are not divided by √H"""


def partial_softmax(q, k, v, mask):
    scores = np.where(mask, q @ k.T, -np.inf)
    top = scores.max(axis=1, keepdims=True)
    p = np.exp(scores - np.where(mask.any(axis=1, keepdims=True), top, 0.0))
    return top, p.sum(axis=1, keepdims=True), p @ v
