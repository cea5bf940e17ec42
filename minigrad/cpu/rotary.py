"""Rotary positions: each row of a head turned in one pass over memory."""

import math

import numpy as np

from minigrad.cpu._arrays import contiguous
from minigrad.cpu._jit import jit
from minigrad.cpu.threads import parallel_rows


class rotary:
    """x (..., n, H), cos and sin (..., 1, H/2) -> each pair (x[i], x[i + H/2]) turned by its angle,
    the same for all n heads. Leading axes of cos may be left out or 1.

    Saved: nothing. Backward turns the other way.
    """

    dtypes = ("float32", "float64")

    @staticmethod
    def supports(x, *, cos, sin):
        lead = (1,) * (x.ndim - cos.ndim) + cos.shape[:-1]
        outer = lead[:-1]
        while outer and outer[0] == 1:
            outer = outer[1:]
        return (
            cos.dtype == sin.dtype == x.dtype
            and x.ndim > 1
            and lead[-1] == 1
            and x.shape[x.ndim - 2 - len(outer) : -2] == outer
        )

    @staticmethod
    def forward(x, *, cos, sin):
        return _turned(x, cos, sin, 1), ()

    @staticmethod
    def backward(g, saved, needs, *, cos, sin):
        return (_turned(g, cos, sin, -1),)

    @staticmethod
    def jvp(arrays, tangents, *, cos, sin):
        return _turned(arrays[0], cos, sin, 1), _turned(tangents[0], cos, sin, 1)


def _turned(x, cos, sin, sign):
    x = contiguous(x)
    out = np.empty(x.shape, x.dtype)
    n, H = x.shape[-2:]
    rows = math.prod(x.shape[:-2])
    cos, sin = (contiguous(table).reshape(-1, H // 2) for table in (cos, sin))
    arrays = x.reshape(rows, n, H), cos, sin, x.dtype.type(sign), out.reshape(rows, n, H)
    parallel_rows(_rotary, rows, *arrays, cost=n * (5 + 0.3 * H * x.itemsize / 4))
    return out


@jit()
def _rotary(start, stop, x, cos, sin, sign, out):
    half = cos.shape[1]
    for i in range(start, stop):
        c, s = cos[i % len(cos)], sin[i % len(cos)]
        for j in range(x.shape[1]):
            a, b, y, z = x[i, j, :half], x[i, j, half:], out[i, j, :half], out[i, j, half:]
            for h in range(c.size):
                y[h] = a[h] * c[h] - b[h] * (sign * s[h])
                z[h] = b[h] * c[h] + a[h] * (sign * s[h])
