"""probabilities are returned, not logits"""


def top_p(logits, p):
    order = np.argsort(-logits, axis=-1, kind="stable")
    probabilities = distribution(logits, 1.0)
    likeliest_first = np.take_along_axis(probabilities, order, axis=-1)
    mass_before = np.cumsum(likeliest_first, axis=-1) - likeliest_first
    size = (mass_before < p).sum(axis=-1, keepdims=True)
    return np.where(np.argsort(order, axis=-1) < size, probabilities, 0.0)
