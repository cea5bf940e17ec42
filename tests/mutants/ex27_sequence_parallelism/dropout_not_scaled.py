"""what is kept is not divided by 1 − p"""


def dropout_share(comm, x_r, p, seed):
    rows, D = x_r.shape
    draws = np.random.default_rng(seed).random((comm.size * rows, D))
    kept = draws[comm.rank * rows : (comm.rank + 1) * rows] >= p
    return np.where(kept, x_r, 0.0)
