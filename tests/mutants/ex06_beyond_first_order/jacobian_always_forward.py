"""jvp was called, but with 7 inputs and 3 outputs vjp needs fewer calls"""

import numpy as np


def jacobian(jvp, vjp, n, m):
    return np.stack([jvp(u) for u in np.eye(n)], axis=1)
