"""N counts the tokens that are given, too; they were not predicted"""


def log_likelihood(p, ids):
    n = p.ndim
    steps = p[tuple(ids[k : len(ids) - n + 1 + k] for k in range(n))]
    return np.log(steps).sum(), len(ids)
