"""the softmax is over this rank's words alone, not over all"""

_cross_entropy = cross_entropy


def cross_entropy(comm, Z_r, targets):
    loss, _ = _cross_entropy(comm, Z_r, targets)
    n, words = Z_r.shape
    onehot = np.arange(words) == (targets - comm.rank * words)[:, None]
    E = np.exp(Z_r - Z_r.max(axis=1)[:, None])
    return loss, (E / E.sum(axis=1)[:, None] - onehot) / n
