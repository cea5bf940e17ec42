"""W is transposed, though Y = XW has no transpose"""


def linear(X, W, b):
    return X @ W.T + b
