"""the n_h/P heads of a rank are taken as one, as wide as all"""

_attention = attention


def attention(comm, X, W_Q_r, W_K_r, W_V_r, W_O_r, n_h):
    return _attention(comm, X, W_Q_r, W_K_r, W_V_r, W_O_r, comm.size)
