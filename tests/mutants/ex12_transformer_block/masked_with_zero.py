"""masked scores are set to 0, not to −∞, so that masked keys keep a weight"""


def attention(q, k, v, mask=None):
    k, v = (np.repeat(t, q.shape[-3] // k.shape[-3], axis=-3) for t in (k, v))
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores * mask
    return softmax(scores) @ v
