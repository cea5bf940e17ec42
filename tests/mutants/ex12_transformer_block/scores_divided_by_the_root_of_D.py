"""the scores are divided by √D, the model's width, not by √H, the head's"""


def attention(q, k, v, mask=None):
    k, v = (np.repeat(t, q.shape[-3] // k.shape[-3], axis=-3) for t in (k, v))
    D = q.shape[-3] * q.shape[-1]
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(D)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    return softmax(scores) @ v
