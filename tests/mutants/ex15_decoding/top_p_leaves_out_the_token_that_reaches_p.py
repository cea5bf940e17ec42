"""the token that brings the mass to p is left out: the set's mass is less than p"""


def top_p(logits, p):
    order = np.argsort(-logits, axis=-1, kind="stable")
    mass = np.cumsum(np.take_along_axis(distribution(logits, 1.0), order, axis=-1), axis=-1)
    size = np.maximum((mass < p).sum(axis=-1, keepdims=True), 1)
    return np.where(np.argsort(order, axis=-1) < size, logits, -np.inf)
