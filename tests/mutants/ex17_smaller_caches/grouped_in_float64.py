"""np.sqrt of an integer is a float64, and so is all that it divides: math.sqrt is not"""


def grouped_attention(q, k, v):
    B, n_h, L, H = q.shape
    n_kv = k.shape[1]
    q = q.reshape(B, n_kv, n_h // n_kv, L, H)
    k, v = k[:, :, None], v[:, :, None]
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(H)
    return (causal_softmax(scores) @ v).reshape(B, n_h, L, H)
