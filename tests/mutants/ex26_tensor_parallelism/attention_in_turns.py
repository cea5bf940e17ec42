"""a head has every n_h-th column, and not H neighbours"""

_gathered = lambda comm, W: comm.all_gather(W.T).T


def attention(comm, X, W_Q_r, W_K_r, W_V_r, W_O_r, n_h):
    L, D = X.shape
    W_Q, W_K, W_V = (_gathered(comm, W) for W in (W_Q_r, W_K_r, W_V_r))
    Y, W_O = np.zeros((L, D)), comm.all_gather(W_O_r)
    for head in range(n_h):
        own = slice(head, None, n_h)
        S = X @ W_Q[:, own] @ (X @ W_K[:, own]).T / np.sqrt(D // n_h)
        E = np.exp(S) * np.tri(L)
        Y += E / E.sum(axis=1, keepdims=True) @ X @ W_V[:, own] @ W_O[own]
    return Y
