"""the scores are divided by √D, the model's width, not by √H, the head's"""


def grouped_attention(q, k, v):
    B, n_h, L, H = q.shape
    n_kv = k.shape[1]
    q = q.reshape(B, n_kv, n_h // n_kv, L, H)
    k, v = k[:, :, None], v[:, :, None]
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(n_h * H)
    return (causal_softmax(scores) @ v).reshape(B, n_h, L, H)
