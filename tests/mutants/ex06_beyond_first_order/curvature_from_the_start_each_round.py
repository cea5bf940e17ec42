"""each round starts from the same v: go on with the product"""

import numpy as np


def largest_curvature(product, v, rounds):
    v = v / np.sqrt(np.sum(v**2))
    for _ in range(rounds):
        Hv = product(v)
        c = np.sum(v * Hv)
    return c, Hv / np.sqrt(np.sum(Hv**2))
