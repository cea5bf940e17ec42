"""the mask is aligned top left, as if the new tokens were the first of the text"""


def attend_chunk(q, keys, values, length):
    k, v = keys[:, :, :length], values[:, :, :length]
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    scores = np.where(np.tri(q.shape[2], length, dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True) @ v
