"""this is the length of H v, not ⟨v, Hv⟩"""

import numpy as np


def largest_curvature(product, v, rounds):
    v = v / np.sqrt(np.sum(v**2))
    for _ in range(rounds):
        Hv = product(v)
        c = np.sqrt(np.sum(Hv**2))
        v = Hv / c
    return c, v
