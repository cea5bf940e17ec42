"""Elementwise ops: each value of the output depends on one value of each input.

Inputs broadcast as in NumPy. Rules say nothing about that: the engine sums a cotangent over the
axes along which its input was broadcast.
"""

import numpy as np

from minigrad import backend
from minigrad.engine import Traced, box, plain, primitive

LOG_2 = float(np.log(2.0))
TWO_OVER_SQRT_PI = float(2.0 / np.sqrt(np.pi))


@primitive
def add(x, y):
    """``x + y``."""
    return x + y


add.vjp(lambda g: g, lambda g: g)
add.jvp(lambda dx: dx, lambda dy: dy)


@primitive
def subtract(x, y):
    """``x - y``."""
    return np.subtract(x, y)


subtract.vjp(lambda g: g, lambda g: -g)
subtract.jvp(lambda dx: dx, lambda dy: -dy)


@primitive
def multiply(x, y):
    """``x * y``."""
    return x * y


multiply.vjp(lambda g, y: g * y, lambda g, x: g * x)
multiply.multilinear()


@primitive
def divide(x, y):
    """``x / y``."""
    return np.true_divide(x, y)


divide.vjp(lambda g, y: g / y, lambda g, y, out: -g * out / y)
divide.jvp(lambda dx, y: dx / y, lambda dy, y, out: -dy * out / y)


@primitive
def negative(x):
    """``-x``."""
    return -x


negative.vjp(lambda g: -g)
negative.multilinear()


def positive(x):
    """``x`` itself."""
    return x


@primitive
def floor_divide(x, y):
    """The quotient rounded down; its derivative is zero."""
    return np.floor_divide(x, y)


floor_divide.no_derivative()


@primitive
def remainder(x, y):
    """``x - y * floor(x / y)``, Python's ``%``."""
    return np.remainder(x, y)


remainder.vjp(lambda g: g, lambda g, x, y: -g * floor_divide(x, y))
remainder.jvp(lambda dx: dx, lambda dy, x, y: -dy * floor_divide(x, y))


def power(x, y):
    """``x ** y``. At ``x = 0`` the derivative in ``y`` is 0 for ``y >= 0``; in ``x`` it is 0 where
    ``y = 0``. A Python number as ``y`` is a constant."""
    if type(y) in (int, float):  # NumPy's float64 is a float too, but takes part in promotion
        return _power_of(x, exponent=y)
    return _power(x, y)


@primitive
def _power(x, y):
    return np.power(x, y)


def _dpower_dx(d, x, y):
    return d * where(equal(y, 0), 0.0, y * _power(x, where(equal(y, 0), 1.0, subtract(y, 1))))


def _dpower_dy(d, x, y, out):
    settled = logical_and(equal(x, 0), greater_equal(y, 0))
    return d * where(settled, 0.0, out * log(where(settled, 1.0, x)))


_power.vjp(_dpower_dx, _dpower_dy)
_power.jvp(_dpower_dx, _dpower_dy)


@primitive
def _power_of(x, /, exponent):
    x, exponent = backend.weak_scalars([x, exponent])
    return np.square(x) if exponent == 2 else x**exponent


def _dpower_of(d, x, exponent):
    if exponent == 0:
        return d * 0
    if exponent == 1:
        return d
    return d * (exponent * power(x, exponent - 1))


_power_of.vjp(_dpower_of)
_power_of.jvp(_dpower_of)


@primitive
def maximum(x, y):
    """The larger of the two; where they are equal, each gets half of the gradient."""
    return np.maximum(x, y)


@primitive
def minimum(x, y):
    """The smaller of the two; where they are equal, each gets half of the gradient."""
    return np.minimum(x, y)


def _share(d, chosen, other):
    return where(greater(chosen, other), d, where(equal(chosen, other), d * 0.5, 0.0))


maximum.vjp(lambda g, x, y: _share(g, x, y), lambda g, x, y: _share(g, y, x))
maximum.jvp(lambda dx, x, y: _share(dx, x, y), lambda dy, x, y: _share(dy, y, x))
minimum.vjp(lambda g, x, y: _share(g, y, x), lambda g, x, y: _share(g, x, y))
minimum.jvp(lambda dx, x, y: _share(dx, y, x), lambda dy, x, y: _share(dy, x, y))


@primitive
def where(condition, x, y):
    """``x`` where ``condition`` is true, else ``y``."""
    return backend.where(condition, x, y)


where.vjp(
    None,
    lambda g, condition: where(condition, g, 0.0),
    lambda g, condition: where(condition, 0.0, g),
)
where.jvp(
    None,
    lambda dx, condition: where(condition, dx, 0.0),
    lambda dy, condition: where(condition, 0.0, dy),
)


def clip(x, min=None, max=None):
    """``x`` limited to [min, max]; the gradient is 1 from bound to bound, both included. Bounds
    that are arrays or Tensors have derivatives too, those of ``maximum`` and ``minimum``."""
    if min is None and max is None:
        raise ValueError("clip: both bounds are None; give min, max, or both")
    if all(bound is None or isinstance(bound, (int, float)) for bound in (min, max)):
        return _clip(x, min=min, max=max)
    x = x if min is None else maximum(x, min)
    return x if max is None else minimum(x, max)


@primitive
def _clip(x, /, min, max):
    x, min, max = backend.weak_scalars([x, min, max])
    x = x if min is None else np.maximum(x, min)
    return x if max is None else np.minimum(x, max)


def _inside(d, x, min, max):
    above = True if min is None else greater_equal(x, min)
    below = True if max is None else less_equal(x, max)
    return where(logical_and(above, below), d, 0.0)


_clip.vjp(_inside)
_clip.jvp(_inside)


@primitive
def abs(x):
    """The absolute value; its derivative at 0 is 0."""
    return np.abs(x)


abs.vjp(lambda g, x: g * sign(x))
abs.jvp(lambda dx, x: dx * sign(x))


@primitive
def exp(x):
    """e to the power ``x``."""
    return np.exp(x)


exp.vjp(lambda g, out: g * out)
exp.jvp(lambda dx, out: dx * out)


@primitive
def exp2(x):
    """2 to the power ``x``."""
    return np.exp2(x)


exp2.vjp(lambda g, out: g * out * LOG_2)
exp2.jvp(lambda dx, out: dx * out * LOG_2)


@primitive
def expm1(x):
    """``exp(x) - 1``, exact for small ``x``."""
    return np.expm1(x)


expm1.vjp(lambda g, out: g * (out + 1))
expm1.jvp(lambda dx, out: dx * (out + 1))


@primitive
def log(x):
    """The natural logarithm."""
    return np.log(x)


log.vjp(lambda g, x: g / x)
log.jvp(lambda dx, x: dx / x)


@primitive
def log2(x):
    """The logarithm to base 2."""
    return np.log2(x)


log2.vjp(lambda g, x: g / (x * LOG_2))
log2.jvp(lambda dx, x: dx / (x * LOG_2))


@primitive
def log1p(x):
    """``log(1 + x)``, exact for small ``x``."""
    return np.log1p(x)


log1p.vjp(lambda g, x: g / (1 + x))
log1p.jvp(lambda dx, x: dx / (1 + x))


@primitive
def sqrt(x):
    """The square root."""
    return np.sqrt(x)


sqrt.vjp(lambda g, out: g * 0.5 / out)
sqrt.jvp(lambda dx, out: dx * 0.5 / out)


def square(x):
    """``x * x``."""
    return power(x, 2)


@primitive
def reciprocal(x):
    """``1 / x``."""
    return np.true_divide(1, x)


reciprocal.vjp(lambda g, out: -g * out * out)
reciprocal.jvp(lambda dx, out: -dx * out * out)


@primitive
def sin(x):
    """The sine of ``x`` in radians."""
    return np.sin(x)


sin.vjp(lambda g, x: g * cos(x))
sin.jvp(lambda dx, x: dx * cos(x))


@primitive
def cos(x):
    """The cosine of ``x`` in radians."""
    return np.cos(x)


cos.vjp(lambda g, x: -g * sin(x))
cos.jvp(lambda dx, x: -dx * sin(x))


@primitive
def tan(x):
    """The tangent of ``x`` in radians."""
    return np.tan(x)


tan.vjp(lambda g, out: g * (1 + out * out))
tan.jvp(lambda dx, out: dx * (1 + out * out))


@primitive
def arcsin(x):
    """The inverse sine, in radians."""
    return np.arcsin(x)


arcsin.vjp(lambda g, x: g / sqrt(1 - x * x))
arcsin.jvp(lambda dx, x: dx / sqrt(1 - x * x))


@primitive
def arccos(x):
    """The inverse cosine, in radians."""
    return np.arccos(x)


arccos.vjp(lambda g, x: -g / sqrt(1 - x * x))
arccos.jvp(lambda dx, x: -dx / sqrt(1 - x * x))


@primitive
def arctan(x):
    """The inverse tangent, in radians."""
    return np.arctan(x)


arctan.vjp(lambda g, x: g / (1 + x * x))
arctan.jvp(lambda dx, x: dx / (1 + x * x))


@primitive
def sinh(x):
    """The hyperbolic sine."""
    return np.sinh(x)


sinh.vjp(lambda g, x: g * cosh(x))
sinh.jvp(lambda dx, x: dx * cosh(x))


@primitive
def cosh(x):
    """The hyperbolic cosine."""
    return np.cosh(x)


cosh.vjp(lambda g, x: g * sinh(x))
cosh.jvp(lambda dx, x: dx * sinh(x))


@primitive
def tanh(x):
    """The hyperbolic tangent."""
    return np.tanh(x)


def _dtanh(d, out):
    return d - d * (out * out)


tanh.vjp(_dtanh)
tanh.jvp(_dtanh)


@primitive
def arcsinh(x):
    """The inverse hyperbolic sine."""
    return np.arcsinh(x)


arcsinh.vjp(lambda g, x: g / sqrt(1 + x * x))
arcsinh.jvp(lambda dx, x: dx / sqrt(1 + x * x))


@primitive
def arccosh(x):
    """The inverse hyperbolic cosine."""
    return np.arccosh(x)


arccosh.vjp(lambda g, x: g / (sqrt(x - 1) * sqrt(x + 1)))
arccosh.jvp(lambda dx, x: dx / (sqrt(x - 1) * sqrt(x + 1)))


@primitive
def arctanh(x):
    """The inverse hyperbolic tangent."""
    return np.arctanh(x)


arctanh.vjp(lambda g, x: g / (1 - x * x))
arctanh.jvp(lambda dx, x: dx / (1 - x * x))


@primitive
def erf(x):
    """The error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to ``x``."""
    return backend.erf(x)


erf.vjp(lambda g, x: g * (TWO_OVER_SQRT_PI * exp(-x * x)))
erf.jvp(lambda dx, x: dx * (TWO_OVER_SQRT_PI * exp(-x * x)))


@primitive
def sigmoid(x):
    """``1 / (1 + exp(-x))``, without overflow on either side."""
    small = np.exp(-np.abs(x))
    return (np.where(x >= 0, 1, small) / (1 + small)).astype(small.dtype, copy=False)


sigmoid.vjp(lambda g, out: g * (out * (1 - out)))
sigmoid.jvp(lambda dx, out: dx * (out * (1 - out)))


@primitive
def softplus(x):
    """``log(1 + exp(x))``, without overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


softplus.vjp(lambda g, x: g * sigmoid(x))
softplus.jvp(lambda dx, x: dx * sigmoid(x))


@primitive
def relu(x):
    """``max(x, 0)``; its derivative at 0 is 0."""
    return np.maximum(x, 0)


relu.vjp(lambda g, out: where(greater(out, 0), g, 0.0))
relu.jvp(lambda dx, out: where(greater(out, 0), dx, 0.0))


@primitive
def astype(x, /, dtype):
    """``x`` as another dtype. Gradients come back in the dtype of ``x``."""
    return x.astype(backend.as_dtype(dtype))


astype.vjp(lambda g: g)
astype.multilinear()


def to_device(x, device):
    """``x`` on another device ("cpu", "cuda", "cuda:1"); gradients travel back."""
    return _to_device(x, device=device, source=backend.device_of(plain(x)))


@primitive
def _to_device(x, /, device, source):
    return backend.to_device(x, device)


_to_device.vjp(lambda g, device, source: _to_device(g, device=source, source=device))
_to_device.multilinear()


def stop_gradient(x):
    """``x`` as a constant: no derivative, of any order or mode, sees where it came from."""
    return box(plain(x)) if isinstance(x, Traced) else x


def _piecewise_constant(name, doc):
    function = getattr(np, name)

    def unary(x):
        return function(x)

    def binary(x, y):
        return function(x, y)

    forward = unary if function.nin == 1 else binary
    forward.__name__, forward.__doc__ = name, doc
    op = primitive(forward)
    op.no_derivative()
    return op


sign = _piecewise_constant("sign", "-1, 0 or 1; its derivative is zero.")
floor = _piecewise_constant("floor", "Rounded down; its derivative is zero.")
ceil = _piecewise_constant("ceil", "Rounded up; its derivative is zero.")
rint = _piecewise_constant("rint", "Rounded to the nearest integer; its derivative is zero.")
isnan = _piecewise_constant("isnan", "Where ``x`` is not a number.")
isfinite = _piecewise_constant("isfinite", "Where ``x`` is neither infinite nor NaN.")
equal = _piecewise_constant("equal", "``x == y``, elementwise.")
not_equal = _piecewise_constant("not_equal", "``x != y``, elementwise.")
less = _piecewise_constant("less", "``x < y``, elementwise.")
less_equal = _piecewise_constant("less_equal", "``x <= y``, elementwise.")
greater = _piecewise_constant("greater", "``x > y``, elementwise.")
greater_equal = _piecewise_constant("greater_equal", "``x >= y``, elementwise.")
logical_and = _piecewise_constant("logical_and", "Both true, elementwise.")
logical_or = _piecewise_constant("logical_or", "Either true, elementwise.")
logical_not = _piecewise_constant("logical_not", "Not true, elementwise.")
