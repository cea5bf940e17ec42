"""all heads ask the first keys"""


def attention(q, k, v, mask=None):
    if k.shape[-3] < q.shape[-3]:
        k, v = k[..., :1, :, :], v[..., :1, :, :]
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    return softmax(scores) @ v
