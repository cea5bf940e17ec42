"""the sum of exp is over this rank's words alone: add up the ranks'"""


def cross_entropy(comm, Z_r, targets):
    n, words = Z_r.shape
    onehot = np.arange(words) == (targets - comm.rank * words)[:, None]
    highest = comm.all_reduce(Z_r.max(axis=1), "max")
    E = np.exp(Z_r - highest[:, None])
    total = E.sum(axis=1)
    chosen = comm.all_reduce((Z_r * onehot).sum(axis=1))
    loss = (np.log(total) + highest - chosen).mean()
    return float(loss), (E / total[:, None] - onehot) / n
