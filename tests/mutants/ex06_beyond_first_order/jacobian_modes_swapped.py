"""vjp was called, but with 3 inputs and 7 outputs jvp needs fewer calls"""

import numpy as np


def jacobian(jvp, vjp, n, m):
    if n > m:
        return np.stack([jvp(u) for u in np.eye(n)], axis=1)
    return np.stack([vjp(v) for v in np.eye(m)], axis=0)
