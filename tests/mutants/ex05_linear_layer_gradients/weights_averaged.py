"""it is averaged over the batch, not summed"""


def weight_gradient(X, dY):
    X, dY = X.reshape(-1, X.shape[-1]), dY.reshape(-1, dY.shape[-1])
    return X.T @ dY / len(X)
