"""draws or positions are sent"""


def dropout_share(comm, x_r, p, seed):
    x = comm.all_gather(x_r)
    kept = np.random.default_rng(seed).random(x.shape) >= p
    return np.split(np.where(kept, x / (1 - p), 0.0), comm.size)[comm.rank]
