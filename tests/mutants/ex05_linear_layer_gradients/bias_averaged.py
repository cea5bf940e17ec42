"""it is averaged over the batch, not summed"""


def bias_gradient(dY):
    return dY.mean(axis=tuple(range(dY.ndim - 1)))
