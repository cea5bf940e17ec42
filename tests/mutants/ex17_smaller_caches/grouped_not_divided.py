"""the scores are not divided by the root of the keys' width"""


def grouped_attention(q, k, v):
    B, n_h, L, H = q.shape
    n_kv = k.shape[1]
    q = q.reshape(B, n_kv, n_h // n_kv, L, H)
    k, v = k[:, :, None], v[:, :, None]
    scores = q @ k.swapaxes(-1, -2)
    return (causal_softmax(scores) @ v).reshape(B, n_h, L, H)
