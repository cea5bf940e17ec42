"""one call too many"""

import numpy as np


def jacobian(jvp, vjp, n, m):
    return np.stack([jvp(u) for u in np.eye(n)], axis=1)
