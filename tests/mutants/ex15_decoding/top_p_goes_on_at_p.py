"""a token is kept although the mass before it is p already"""


def top_p(logits, p):
    order = np.argsort(-logits, axis=-1, kind="stable")
    likeliest_first = np.take_along_axis(distribution(logits, 1.0), order, axis=-1)
    mass_before = np.cumsum(likeliest_first, axis=-1) - likeliest_first
    size = (mass_before <= p).sum(axis=-1, keepdims=True)
    return np.where(np.argsort(order, axis=-1) < size, logits, -np.inf)
