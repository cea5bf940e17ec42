"""with u equal to v a forgotten transpose passes: draw two different vectors"""

import numpy as np


def modes_agree(jvp, vjp, n, m):
    u = np.random.default_rng(0).standard_normal(n)
    v = np.random.default_rng(0).standard_normal(m)
    return bool(np.isclose(v @ jvp(u), vjp(v) @ u, rtol=1e-9, atol=0))
