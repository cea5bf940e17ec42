"""scores are divided by √D; it is √H, the width of a head"""

_attention = attention


def attention(comm, X, W_Q, W_K, W_V, W_O, n_h):
    return _attention(comm, X, W_Q / np.sqrt(n_h), W_K, W_V, W_O, n_h)
