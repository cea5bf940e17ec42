"""the new direction is the rest alone: the old direction must live on in it"""

import numpy as np


def newton_step(product, gradient, tolerance=1e-10):
    p, rest = np.zeros_like(gradient), -gradient
    d = rest
    while np.linalg.norm(rest) > tolerance * np.linalg.norm(gradient):
        Hd = product(d)
        square = np.sum(rest**2)
        length = square / np.sum(d * Hd)
        p, rest = p + length * d, rest - length * Hd
        d = rest
    return p
