"""this is one gradient per sequence, not summed over the first batch axis"""


def weight_gradient(X, dY):
    return X.swapaxes(-1, -2) @ dY
