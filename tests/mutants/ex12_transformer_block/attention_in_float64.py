"""np.sqrt of an integer is a float64, and so is all that it divides: math.sqrt is not"""


def attention(q, k, v, mask=None):
    k, v = (np.repeat(t, q.shape[-3] // k.shape[-3], axis=-3) for t in (k, v))
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    return softmax(scores) @ v
