"""this is the length of H v: c is ⟨v, Hv⟩ with the v from before the product"""

import numpy as np


def largest_curvature(product, v, rounds):
    v = v / np.sqrt(np.sum(v**2))
    for _ in range(rounds):
        Hv = product(v)
        c = np.sqrt(np.sum(Hv**2))
        v = Hv / c
    return c, v
