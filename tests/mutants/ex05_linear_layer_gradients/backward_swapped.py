"""the order is (dX, dW, db), and this is (dW, dX, db)"""


def linear_backward(X, W, dY):
    dX = dY @ W.T
    dW = X.reshape(-1, X.shape[-1]).T @ dY.reshape(-1, dY.shape[-1])
    db = dY.reshape(-1, dY.shape[-1]).sum(axis=0)
    return dW, dX, db
