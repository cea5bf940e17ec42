"""f and g are exchanged: dY is taken as it is, and the ranks' shares of dX are added up"""


def mlp_gradients(comm, X, A_r, B_r, dY):
    dY = comm.all_reduce(dY)
    hidden = np.maximum(X @ A_r, 0.0)
    dZ_r = (dY @ B_r.T) * (hidden > 0)
    return dZ_r @ A_r.T, X.T @ dZ_r, hidden.T @ dY
