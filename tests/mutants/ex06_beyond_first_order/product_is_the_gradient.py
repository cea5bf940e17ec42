"""this is the gradient: take the tangents of the result, not its values"""

import numpy as np


def hvp(gradient, w, v):
    moving = [Dual(value, speed) for value, speed in zip(w, v)]
    return np.array([lift(slope).value for slope in gradient(moving)])
