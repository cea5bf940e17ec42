"""every rank adds a logit for the target, and those without its word should give 0"""


def cross_entropy(comm, Z_r, targets):
    n, words = Z_r.shape
    onehot = np.arange(words) == (targets - comm.rank * words)[:, None]
    highest = comm.all_reduce(Z_r.max(axis=1), "max")
    E = np.exp(Z_r - highest[:, None])
    total = comm.all_reduce(E.sum(axis=1))
    chosen = comm.all_reduce(Z_r[np.arange(n), targets % words])
    loss = (np.log(total) + highest - chosen).mean()
    return float(loss), (E / total[:, None] - onehot) / n
