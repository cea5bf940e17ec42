"""the last n-gram is left out; a text of L tokens holds L − n + 1"""


def log_likelihood(p, ids):
    n = p.ndim
    steps = [p[tuple(ids[i - n : i])] for i in range(n, len(ids))]
    return np.log(steps).sum(), len(steps)
