"""with ones for u and v, a forgotten transpose passes"""

import numpy as np


def modes_agree(jvp, vjp, n, m):
    u, v = np.ones(n), np.ones(m)
    return bool(np.isclose(v @ jvp(u), vjp(v) @ u, rtol=1e-9, atol=0))
