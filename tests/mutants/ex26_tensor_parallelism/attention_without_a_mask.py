"""positions see those that come after them"""


def attention(comm, X, W_Q_r, W_K_r, W_V_r, W_O_r, n_h):
    L, D = X.shape
    H, heads = D // n_h, n_h // comm.size
    Q, K, V = ((X @ W).reshape(L, heads, H).swapaxes(0, 1) for W in (W_Q_r, W_K_r, W_V_r))
    E = np.exp(Q @ K.swapaxes(1, 2) / np.sqrt(H))
    Y = E / E.sum(axis=-1, keepdims=True) @ V
    return comm.all_reduce(Y.swapaxes(0, 1).reshape(L, -1) @ W_O_r)
