"""only the diagonal of the Hessian is used: all of w must move at once"""

import numpy as np


def hvp(gradient, w, v):
    Hv = np.zeros_like(w)
    for i, speed in enumerate(v):
        moving = [*w[:i], Dual(w[i], speed), *w[i + 1 :]]
        Hv[i] = lift(gradient(moving)[i]).tangent
    return Hv
