"""each rank draws with a seed of its own; one device draws all positions with one"""


def dropout_share(comm, x_r, p, seed):
    kept = np.random.default_rng(seed + comm.rank).random(x_r.shape) >= p
    return np.where(kept, x_r / (1 - p), 0.0)
