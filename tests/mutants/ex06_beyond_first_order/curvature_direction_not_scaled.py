"""the last product is not scaled to length one"""

import numpy as np


def largest_curvature(product, v, rounds):
    Hv = v
    for _ in range(rounds):
        v = Hv / np.sqrt(np.sum(Hv**2))
        Hv = product(v)
        c = np.sum(v * Hv)
    return c, Hv
