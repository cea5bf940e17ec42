"""each layer is scaled by its own norm: they have one, together"""


def clip(comm, shares, most):
    squares = comm.all_reduce(np.array([float(np.sum(g * g)) for g in shares]))
    norm = math.sqrt(squares.sum())
    each = np.sqrt(squares)
    return [g * min(1.0, most / n) if n else g for g, n in zip(shares, each)], norm
