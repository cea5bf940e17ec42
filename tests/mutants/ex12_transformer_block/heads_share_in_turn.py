"""the heads take the shared keys in turn, 0 1 0 1: neighbours are to share, 0 0 1 1"""


def attention(q, k, v, mask=None):
    group = q.shape[-3] // k.shape[-3]
    k, v = (np.concatenate([t] * group, axis=-3) for t in (k, v))
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    return softmax(scores) @ v
