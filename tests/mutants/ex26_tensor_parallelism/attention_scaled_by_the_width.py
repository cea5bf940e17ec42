"""scores are divided by √D; it is √H, the width of a head"""

_attention = attention


def attention(comm, X, W_Q_r, W_K_r, W_V_r, W_O_r, n_h):
    return _attention(comm, X, W_Q_r / np.sqrt(n_h), W_K_r, W_V_r, W_O_r, n_h)
