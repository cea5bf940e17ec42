"""the sign is lost: compare numbers, not their sizes"""

import numpy as np


def modes_agree(jvp, vjp, n, m):
    random = np.random.default_rng()
    u, v = random.standard_normal(n), random.standard_normal(m)
    return bool(np.isclose(abs(v @ jvp(u)), abs(vjp(v) @ u), rtol=1e-9, atol=0))
