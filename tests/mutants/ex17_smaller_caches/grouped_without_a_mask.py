"""queries see later tokens: the softmax is not causal"""


def grouped_attention(q, k, v):
    B, n_h, L, H = q.shape
    n_kv = k.shape[1]
    q = q.reshape(B, n_kv, n_h // n_kv, L, H)
    k, v = k[:, :, None], v[:, :, None]
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(H)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = weights / weights.sum(axis=-1, keepdims=True)
    return (weights @ v).reshape(B, n_h, L, H)
