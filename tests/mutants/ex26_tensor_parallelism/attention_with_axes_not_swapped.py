"""(L, D/P) is reshaped to (heads, L, H), which mixes positions and heads"""


def attention(comm, X, W_Q_r, W_K_r, W_V_r, W_O_r, n_h):
    L, D = X.shape
    H, heads = D // n_h, n_h // comm.size
    Q, K, V = ((X @ W).reshape(heads, L, H) for W in (W_Q_r, W_K_r, W_V_r))
    S = np.where(np.tri(L, dtype=bool), Q @ K.swapaxes(1, 2) / np.sqrt(H), -np.inf)
    E = np.exp(S - S.max(axis=-1, keepdims=True))
    Y = E / E.sum(axis=-1, keepdims=True) @ V
    return comm.all_reduce(Y.reshape(L, -1) @ W_O_r)
