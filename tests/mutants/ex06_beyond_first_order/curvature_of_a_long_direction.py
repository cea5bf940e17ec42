"""v is not scaled to length one before the curvature is read"""

import numpy as np


def largest_curvature(product, v, rounds):
    v = 1.0 * v
    for _ in range(rounds):
        Hv = product(v)
        c = np.sum(v * Hv)
        v = Hv / np.sqrt(np.sum(Hv**2))
    return c, v
