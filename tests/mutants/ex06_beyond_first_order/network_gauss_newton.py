"""only the error moves: this is the Gauss-Newton product"""

import numpy as np


def network_hvp(W1, W2, V1, V2, X, Y):
    A = np.tanh(X @ W1)
    A_dot = (1 - A * A) * (X @ V1)
    dE_dot = (A_dot @ W2 + A @ V2) / len(X)
    HV2 = A.T @ dE_dot
    dA_dot = dE_dot @ W2.T
    dZ_dot = dA_dot * (1 - A * A)
    return X.T @ dZ_dot, HV2
