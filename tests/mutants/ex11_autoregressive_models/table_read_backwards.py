"""the table is read the wrong way round: the context comes first, then the token"""


def log_likelihood(p, ids):
    n = p.ndim
    steps = p[tuple(ids[k : len(ids) - n + 1 + k] for k in reversed(range(n)))]
    return np.log(steps).sum(), len(steps)
