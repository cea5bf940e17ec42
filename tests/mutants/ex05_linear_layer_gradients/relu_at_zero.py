"""at exactly 0 the ReLU must not let the gradient through"""

import numpy as np


def two_layer_backward(X, W1, b1, W2, b2, dY):
    Z = X @ W1 + b1
    A = np.maximum(Z, 0)
    dA = dY @ W2.T
    dZ = dA * (Z >= 0)
    rows = X.reshape(-1, X.shape[-1]), A.reshape(-1, A.shape[-1])
    dZ_rows, dY_rows = dZ.reshape(-1, dZ.shape[-1]), dY.reshape(-1, dY.shape[-1])
    return {
        "X": dZ @ W1.T,
        "W1": rows[0].T @ dZ_rows,
        "b1": dZ_rows.sum(axis=0),
        "W2": rows[1].T @ dY_rows,
        "b2": dY_rows.sum(axis=0),
    }
