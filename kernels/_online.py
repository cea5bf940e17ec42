"""The exponential, and the online softmax: a largest number and a sum that take in more numbers
without seeing the old ones again."""

import functools

import numpy as np

from kernels import cuda, ptx
from kernels._rows import LOWEST, ZERO

LOG2_E = np.float32(1.4426950408889634)


@cuda.jit(device=True)
def exp(x):
    """e**x, to a few units in the last place where it matters: near 1."""
    return ptx.exp2(x * LOG2_E)


@cuda.jit(device=True)
def finite(top):
    """What to take off the numbers of a row whose largest is ``top``; nothing if all are -inf."""
    return ZERO if top == LOWEST else top


@functools.cache
def online(COUNT):
    """``fold(values, top, part)``: the largest number seen and the sum of e**(x - largest), with
    COUNT more numbers taken in (Milakov and Gimelshein, 2018)."""

    @cuda.jit(device=True)
    def fold(values, top, part):
        new = top
        for i in cuda.unroll(COUNT):
            new = max(new, values[i])
        base = finite(new)
        part *= exp(top - base)
        for i in cuda.unroll(COUNT):
            part += exp(values[i] - base)
        return new, part

    return fold
