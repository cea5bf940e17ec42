"""every rank draws the same for its own positions: the mask repeats itself"""


def dropout_share(comm, x_r, p, seed):
    kept = np.random.default_rng(seed).random(x_r.shape) >= p
    return np.where(kept, x_r / (1 - p), 0.0)
