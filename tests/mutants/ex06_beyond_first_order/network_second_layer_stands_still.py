"""dA has a second tangent: W2 moves too"""

import numpy as np


def network_hvp(W1, W2, V1, V2, X, Y):
    A = np.tanh(X @ W1)
    A_dot = (1 - A * A) * (X @ V1)
    dE = (A @ W2 - Y) / len(X)
    dE_dot = (A_dot @ W2 + A @ V2) / len(X)
    HV2 = A_dot.T @ dE + A.T @ dE_dot
    dA = dE @ W2.T
    dA_dot = dE_dot @ W2.T
    dZ_dot = dA_dot * (1 - A * A) - dA * 2 * A * A_dot
    return X.T @ dZ_dot, HV2
