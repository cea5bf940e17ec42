"""the difference may be negative: take its size"""

import numpy as np


def modes_agree(jvp, vjp, n, m):
    random = np.random.default_rng()
    u, v = random.standard_normal(n), random.standard_normal(m)
    forward, reverse = v @ jvp(u), vjp(v) @ u
    return bool(forward - reverse < 1e-9 * abs(forward))
