"""3 different curvatures take 3 turns, of one product each"""

import numpy as np


def newton_step(product, gradient, tolerance=1e-10):
    p, rest = np.zeros_like(gradient), -gradient
    d = rest
    while np.linalg.norm(rest) > tolerance * np.linalg.norm(gradient):
        Hd = product(d)
        square = np.sum(rest**2)
        length = square / np.sum(d * Hd)
        p = p + length * d
        rest = -gradient - product(p)
        d = rest + np.sum(rest**2) / square * d
    return p
