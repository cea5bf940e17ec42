"""the result is a float64: np.sqrt(H) is one, math.sqrt(H) is not"""


def attend_one(q, keys, values, length):
    k, v = keys[:, :, :length], values[:, :, :length]
    weights = np.exp(np.einsum("bnh,bnth->bnt", q, k) / np.sqrt(q.shape[-1]))
    weights = weights / weights.sum(axis=-1, keepdims=True)
    return np.einsum("bnt,bnth->bnh", weights, v)
