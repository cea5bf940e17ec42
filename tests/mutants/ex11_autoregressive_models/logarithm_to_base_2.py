"""the logarithm is to base 2, not the natural one"""


def log_likelihood(p, ids):
    n = p.ndim
    steps = p[tuple(ids[k : len(ids) - n + 1 + k] for k in range(n))]
    return np.log2(steps).sum(), len(steps)
