"""an axis of size 1 is not summed"""


def unbroadcast(g, shape):
    return np.sum(g, axis=tuple(range(np.ndim(g) - len(shape))))
