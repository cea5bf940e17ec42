"""the tolerance is too wide for nine digits"""

import numpy as np


def modes_agree(jvp, vjp, n, m):
    random = np.random.default_rng()
    u, v = random.standard_normal(n), random.standard_normal(m)
    return bool(np.isclose(v @ jvp(u), vjp(v) @ u))
