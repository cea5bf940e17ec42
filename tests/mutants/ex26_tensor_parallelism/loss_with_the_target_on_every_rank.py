"""the target is taken off on every rank, not only where its word is"""

_cross_entropy = cross_entropy


def cross_entropy(comm, Z_r, targets):
    n, words = Z_r.shape
    loss, dZ_r = _cross_entropy(comm, Z_r, targets)
    own = np.arange(words) == (targets - comm.rank * words)[:, None]
    return loss, dZ_r + (own.astype(float) - (np.arange(words) == (targets % words)[:, None])) / n
