"""the tolerance is absolute: tiny numbers pass"""

import numpy as np


def modes_agree(jvp, vjp, n, m):
    random = np.random.default_rng()
    u, v = random.standard_normal(n), random.standard_normal(m)
    return bool(abs(v @ jvp(u) - vjp(v) @ u) < 1e-9)
