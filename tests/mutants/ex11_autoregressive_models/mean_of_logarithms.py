"""that is the mean of the logarithms, not their sum"""


def log_likelihood(p, ids):
    n = p.ndim
    steps = p[tuple(ids[k : len(ids) - n + 1 + k] for k in range(n))]
    return np.log(steps).mean(), len(steps)
