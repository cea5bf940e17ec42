"""the bias gradient is not summed over the batch axes"""


def linear_backward(X, W, dY):
    dX = dY @ W.T
    dW = X.reshape(-1, X.shape[-1]).T @ dY.reshape(-1, dY.shape[-1])
    return dX, dW, dY
