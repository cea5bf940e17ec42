"""this is the transpose of the gradient"""


def weight_gradient(X, dY):
    return dY.reshape(-1, dY.shape[-1]).T @ X.reshape(-1, X.shape[-1])
