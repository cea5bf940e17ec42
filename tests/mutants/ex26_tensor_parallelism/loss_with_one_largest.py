"""one maximum for all tokens"""


def cross_entropy(comm, Z_r, targets):
    n, words = Z_r.shape
    onehot = np.arange(words) == (targets - comm.rank * words)[:, None]
    highest = np.full(n, comm.all_reduce(Z_r.max(keepdims=True), "max").max())
    E = np.exp(Z_r - highest[:, None])
    total = comm.all_reduce(E.sum(axis=1))
    chosen = comm.all_reduce((Z_r * onehot).sum(axis=1))
    loss = (np.log(total) + highest - chosen).mean()
    return float(loss), (E / total[:, None] - onehot) / n
