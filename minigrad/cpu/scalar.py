"""exp, sigmoid, erf and the normal distribution, for the inner loops of kernels.

Numba calls the C library for `math.exp` and `math.erf`, one number at a time. The float32 versions
here are polynomials without branch or call, so that LLVM runs them on 4 to 16 numbers at once.
Their coefficients are minimax fits (Remez exchange), with the bound on the fit beside them.
float64 serves checks more than training, and takes the C library.

Each function takes a float32 or float64 inside compiled code and returns the same type; NaN stays
NaN.
"""

import math

import numpy as np
from numba import types
from numba.extending import overload

from minigrad.cpu._jit import ROUNDING

F = np.float32
LOG2_E = F(1.4426950408889634)
LN_2_HIGH = F(0.693359375)  # ten bits, so that n * LN_2_HIGH is exact
LN_2_LOW = F(-2.12194440e-4)  # ln 2 - LN_2_HIGH
EXP_LOWEST = F(-88.1)  # here and below, 2**n has exponent bits 0: it is 0
EXP_HIGHEST = F(88.9)  # here and above, they are 255: infinity
SQRT_HALF = math.sqrt(0.5)


OPTIONS = {"fastmath": ROUNDING, "error_model": "numpy"}


def exp(x):
    """e**x; in float32 to 1 unit in the last place, 0 below -87.6 and infinite above 88.3."""


def _exp(x):
    # x = n ln 2 + r with |r| <= ln 2 / 2, so e**x = 2**n e**r, and 2**n is made from its bits.
    x = EXP_LOWEST if x < EXP_LOWEST else x
    x = EXP_HIGHEST if x > EXP_HIGHEST else x
    n = np.floor(x * LOG2_E + F(0.5))
    r = (x - n * LN_2_HIGH) - n * LN_2_LOW
    p = F(0.00138145488419)  # (e**r - 1 - r) / r**2, good for e**r to 3.1e-9
    p = p * r + F(0.0083687452706)
    p = p * r + F(0.0416683906148)
    p = p * r + F(0.166665203974)
    p = p * r + F(0.499999934329)
    p = p * (r * r) + r + F(1)
    return p * np.int32((np.int32(n) + 127) << 23).view(np.float32)


def sigmoid(x):
    """1 / (1 + e**-x)."""


def _sigmoid(x):
    return F(1) / (F(1) + exp(-x))


def _sigmoid64(x):
    return 1.0 / (1.0 + math.exp(-x)) if x > -700.0 else math.exp(x)


def upper_tail(z):
    """e**(z*z) erfc(z) for z >= 0: what is left of erfc when its bell is divided out."""


def _upper_tail(z):
    # Smooth and slow in t = (z - 3) / (z + 3): a polynomial over z + 3 holds for all z up to 9.4,
    # beyond which erfc is 0 in float32.
    z = F(9.4) if z > F(9.4) else z
    r = F(1) / (z + F(3))
    t = (z - F(3)) * r
    p = F(-0.0003305093967)  # good to 1.4e-9
    p = p * t + F(-0.0004931847567)
    p = p * t + F(0.003077895369)
    p = p * t + F(-0.001221635113)
    p = p * t + F(-0.02683785316)
    p = p * t + F(0.1195283239)
    p = p * t + F(-0.3104663058)
    p = p * t + F(0.5902283402)
    p = p * t + F(-0.8833944765)
    p = p * t + F(1.074006907)
    return p * r


def erf(x):
    """2 / sqrt(pi) times the integral of e**(-t*t) from 0 to x; in float32 to 2 units."""


def _erf(x):
    z = abs(x)
    u = x * x
    p = F(7.85386643679e-5)  # erf(x) / x - 1 for |x| < 1, good for erf to 1.3e-9
    p = p * u + F(-0.000801019509716)
    p = p * u + F(0.00518832784479)
    p = p * u + F(-0.026853812015)
    p = p * u + F(0.112835851505)
    p = p * u + F(-0.376126258244)
    p = p * u + F(0.12837916573)
    far = F(1) - exp(-u) * upper_tail(z)
    far = -far if x < F(0) else far
    return x + x * p if z < F(1) else far


def normal_cdf(x, bell):
    """Probability that a standard normal variable is below x, given bell = e**(-x*x / 2).

    Its lower tail is a product, never 1 minus something near 1, and so keeps its digits.
    """


def _normal_cdf(x, bell):
    tail = F(0.5) * bell * upper_tail(abs(x) * F(SQRT_HALF))
    return tail if x < F(0) else F(1) - tail


def row_max(row, n):
    """The largest of the first n numbers of a row; if one is NaN, NaN or not.

    LLVM does not vectorize a maximum of floats, whose NaN it must mind, but one of integers; and
    floats are ordered as their bits are, if for negative ones all bits but the sign are flipped.
    """


def _row_max(row, n):
    most = np.int32(-(2**31))
    for j in range(n):
        bits = F(row[j]).view(np.int32)
        bits = np.int32(bits ^ ((bits >> 31) & 0x7FFFFFFF))
        most = bits if bits > most else most
    return np.int32(most ^ ((most >> 31) & 0x7FFFFFFF)).view(np.float32)


def _row_max64(row, n):
    most = -np.inf
    for j in range(n):
        most = row[j] if row[j] > most else most
    return most


def _by_type(x, float32, float64):
    return {types.float32: float32, types.float64: float64}.get(x)


overload(exp, jit_options=OPTIONS)(lambda x: _by_type(x, _exp, lambda x: math.exp(x)))
overload(sigmoid, jit_options=OPTIONS)(lambda x: _by_type(x, _sigmoid, _sigmoid64))
overload(upper_tail, jit_options=OPTIONS)(lambda z: _by_type(z, _upper_tail, None))
overload(erf, jit_options=OPTIONS)(lambda x: _by_type(x, _erf, lambda x: math.erf(x)))
overload(normal_cdf, jit_options=OPTIONS)(
    lambda x, bell: _by_type(x, _normal_cdf, lambda x, bell: 0.5 * math.erfc(-x * SQRT_HALF))
)
overload(row_max, jit_options=OPTIONS)(lambda row, n: _by_type(row.dtype, _row_max, _row_max64))
