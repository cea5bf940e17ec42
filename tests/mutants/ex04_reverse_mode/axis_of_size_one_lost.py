"""an axis of size 1 is lost; it must stay"""


def unbroadcast(g, shape):
    g = np.sum(g, axis=tuple(range(np.ndim(g) - len(shape))))
    return np.sum(g, axis=tuple(axis for axis, size in enumerate(shape) if size == 1))
