"""the largest of this rank's words was taken off, not that of all words"""


def cross_entropy(comm, Z_r, targets):
    n, words = Z_r.shape
    onehot = np.arange(words) == (targets - comm.rank * words)[:, None]
    highest = Z_r.max(axis=1)
    E = np.exp(Z_r - highest[:, None])
    total = comm.all_reduce(E.sum(axis=1))
    chosen = comm.all_reduce((Z_r * onehot).sum(axis=1))
    loss = (np.log(total) + highest - chosen).mean()
    return float(loss), (E / total[:, None] - onehot) / n
