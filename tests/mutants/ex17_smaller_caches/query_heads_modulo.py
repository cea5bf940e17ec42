"""query head i reads head i modulo n_kv; neighbours share, so it is i // (n_h / n_kv)"""


def grouped_attention(q, k, v):
    B, n_h, L, H = q.shape
    n_kv = k.shape[1]
    q = q.reshape(B, n_h // n_kv, n_kv, L, H)
    scores = q @ k[:, None].swapaxes(-1, -2) / math.sqrt(H)
    return (causal_softmax(scores) @ v[:, None]).reshape(B, n_h, L, H)
