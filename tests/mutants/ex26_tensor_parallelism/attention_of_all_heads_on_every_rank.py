"""it is P times too large: every rank has computed all heads"""

_attention = attention


def attention(comm, X, W_Q, W_K, W_V, W_O, n_h):
    return _attention(comm, X, W_Q, W_K, W_V, W_O, n_h) * comm.size
