"""the bias is left out"""


def linear(X, W, b):
    return X @ W
