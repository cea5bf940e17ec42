"""the ranks' squares are averaged, not added up"""


def clip(comm, shares, most):
    squares = sum(float(np.sum(g * g)) for g in shares)
    norm = math.sqrt(comm.all_reduce(np.array([squares]), op="mean")[0])
    scale = most / norm if norm > most else 1.0
    return [g * scale for g in shares], norm
