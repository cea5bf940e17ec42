"""the largest score of the row is not subtracted first, so exp gives ∞ or 0 for all"""


def attend_chunk(q, keys, values, length):
    k, v = keys[:, :, :length], values[:, :, :length]
    new = q.shape[2]
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    weights = np.exp(np.where(np.tri(new, length, length - new, dtype=bool), scores, -np.inf))
    return weights / weights.sum(axis=-1, keepdims=True) @ v
