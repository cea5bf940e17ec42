"""Optimizer steps in place, each in one pass over the memory."""

import math

from minigrad.cpu._arrays import contiguous
from minigrad.cpu._jit import jit
from minigrad.cpu.threads import parallel_rows


def adamw_step(p, g, m, v, *, lr, beta1, beta2, eps, weight_decay, step):
    """One AdamW step on the arrays p, m and v, in place (Loshchilov and Hutter, 2019).

    p the parameter, g its gradient, m and v the running means of g and g²: arrays of one shape and
    one dtype, float32 or float64; p, m and v contiguous. `step` counts from 1. With
    m̂ = m / (1 - beta1**step) and v̂ = v / (1 - beta2**step):
    p ← p - lr weight_decay p - lr m̂ / (sqrt(v̂) + eps).

    Raises ValueError if shapes or dtypes differ or an array cannot be written in place.
    """
    for name, x in (("p", p), ("g", g), ("m", m), ("v", v)):
        if x.shape != p.shape or x.dtype != p.dtype or x.dtype.char not in "fd":
            raise ValueError(
                f"adamw_step: {name} is {x.dtype} {x.shape}; expected {p.dtype} {p.shape}, float32 "
                "or float64"
            )
        if x is not g and not x.flags.carray:
            raise ValueError(f"adamw_step: {name} {x.shape} is not contiguous and writable")
    number = p.dtype.type
    constants = (
        number(1 - lr * weight_decay),
        number(beta1),
        number(1 - beta1),
        number(beta2),
        number(1 - beta2),
        number(lr / (1 - beta1**step)),
        number(1 / math.sqrt(1 - beta2**step)),
        number(eps),
    )
    flat = [x.reshape(-1) for x in (p, contiguous(g), m, v)]
    parallel_rows(_adamw, p.size, *flat, *constants, cost=0.5 * p.itemsize / 4, grain=1024)


@jit()
def _adamw(start, stop, p, g, m, v, keep, beta1, rest1, beta2, rest2, rate, root, eps):
    p, g, m, v = p[start:stop], g[start:stop], m[start:stop], v[start:stop]
    for i in range(p.size):
        first = beta1 * m[i] + rest1 * g[i]
        second = beta2 * v[i] + rest2 * (g[i] * g[i])
        m[i], v[i] = first, second
        p[i] = keep * p[i] - rate * first / (math.sqrt(second) * root + eps)
