"""Reductions: sums, means, extremes and their kin over any axes.

``axis`` is None (all), an integer or a tuple; ``keepdims`` leaves axes of size 1, as in NumPy.
"""

import builtins
import math

import numpy as np

from minigrad import backend
from minigrad.engine import Traced, box, plain, primitive
from minigrad.ops.elementwise import (
    abs,
    equal,
    exp,
    isfinite,
    power,
    sqrt,
    square,
    stop_gradient,
    where,
)
from minigrad.ops.shape import (
    axis_index,
    broadcast_to,
    concatenate,
    expand_dims,
    flip,
    moveaxis,
    reshape,
)


def axes_of(axis, ndim):
    """``axis`` as a tuple of non-negative integers. Raises ValueError (AxisError) out of range."""
    if axis is None:
        return tuple(range(ndim))
    axes = axis if isinstance(axis, tuple | list) else (axis,)
    normal = tuple(axis_index(a, ndim) for a in axes)
    if len(set(normal)) != len(normal):
        raise ValueError(f"axis {axis} names the same axis twice")
    return normal


def _kept(x, shape, axis, keepdims):
    """A reduced ``x`` with its axes back as size 1, so that it broadcasts to ``shape`` again."""
    if keepdims or (axis is None and not shape):
        return x
    gone = axes_of(axis, len(shape))
    return reshape(x, tuple(1 if i in gone else n for i, n in enumerate(shape)))


@primitive
def sum(x, /, axis=None, keepdims=False):
    """The sum over ``axis``. Half-precision values are added up in float32."""
    wide = backend.accumulator(x.dtype)
    if wide is None:
        return np.add.reduce(x, axis=axis, keepdims=keepdims)
    return np.sum(x, axis=axis, keepdims=keepdims, dtype=wide).astype(x.dtype)


sum.vjp(lambda g, x_shape, axis, keepdims: broadcast_to(_kept(g, x_shape, axis, keepdims), x_shape))
sum.multilinear()


def _count(shape, axis):
    return math.prod(shape[a] for a in axes_of(axis, len(shape)))


@primitive
def mean(x, /, axis=None, keepdims=False):
    """The mean over ``axis``; NaN over no elements."""
    return np.mean(x, axis=axis, keepdims=keepdims, dtype=backend.accumulator(x.dtype)).astype(
        x.dtype if backend.is_floating(x.dtype) else np.float64
    )


mean.vjp(
    lambda g, x_shape, axis, keepdims: broadcast_to(
        _kept(g, x_shape, axis, keepdims) / max_of_one(_count(x_shape, axis)), x_shape
    )
)
mean.multilinear()


def max_of_one(count):
    """``count``, or 1 for nothing at all."""
    return builtins.max(count, 1)


def var(x, axis=None, keepdims=False, ddof=0):
    """The mean squared distance from the mean; ``ddof`` is subtracted from the count (NumPy's
    default 0; PyTorch divides by n - 1, which is ``ddof=1``)."""
    n = _count(np.shape(x), axis)
    centred = x - mean(x, axis=axis, keepdims=True)
    return sum(square(centred), axis=axis, keepdims=keepdims) / builtins.max(n - ddof, 0)


def std(x, axis=None, keepdims=False, ddof=0):
    """The square root of ``var``."""
    return sqrt(var(x, axis=axis, keepdims=keepdims, ddof=ddof))


def norm(x, ord=2, axis=None, keepdims=False):
    """The vector norm over ``axis``: ord 1, 2, ``inf``, ``-inf`` or any p. For ord 2 the derivative
    at 0 is 0 (a subgradient, as in PyTorch)."""
    if not isinstance(ord, int | float) or ord == 0:
        raise ValueError(f"norm: ord is {ord!r}; expected 1, 2, inf, -inf or another p, not 0")
    if ord == 2:
        return _norm(x, axis=axis, keepdims=keepdims)
    if ord == 1:
        return sum(abs(x), axis=axis, keepdims=keepdims)
    if ord in (math.inf, -math.inf):
        return (max if ord > 0 else min)(abs(x), axis=axis, keepdims=keepdims)
    return power(sum(power(abs(x), ord), axis=axis, keepdims=keepdims), 1 / ord)


@primitive
def _norm(x, /, axis=None, keepdims=False):
    if not backend.is_floating(x.dtype):
        x = x.astype(np.float64)
    wide = backend.accumulator(x.dtype) or x.dtype
    total = np.sum(np.square(x.astype(wide, copy=False)), axis=axis, keepdims=keepdims)
    return np.sqrt(total).astype(x.dtype, copy=False)


def _direction(x, out, x_shape, axis, keepdims):
    length = _kept(out, x_shape, axis, keepdims)
    return x / where(equal(length, 0), 1.0, length)


_norm.vjp(
    lambda g, x, out, x_shape, axis, keepdims: (
        _kept(g, x_shape, axis, keepdims) * _direction(x, out, x_shape, axis, keepdims)
    )
)
_norm.jvp(
    lambda dx, x, out, x_shape, axis, keepdims: sum(
        dx * _direction(x, out, x_shape, axis, keepdims), axis=axis, keepdims=keepdims
    )
)


@primitive
def max(x, /, axis=None, keepdims=False):
    """The largest element; where several are equal they share the gradient evenly."""
    return np.max(x, axis=axis, keepdims=keepdims)


@primitive
def min(x, /, axis=None, keepdims=False):
    """The smallest element; where several are equal they share the gradient evenly."""
    return np.min(x, axis=axis, keepdims=keepdims)


def _winners(x, out, x_shape, axis, keepdims):
    """Weights that sum to 1 over ``axis`` and are even among the extreme elements."""
    hit = equal(x, _kept(out, x_shape, axis, keepdims)).astype(x.dtype)
    return hit / sum(hit, axis=axis, keepdims=True)


for _extreme in (max, min):
    _extreme.vjp(
        lambda g, x, out, x_shape, axis, keepdims: (
            _kept(g, x_shape, axis, keepdims) * _winners(x, out, x_shape, axis, keepdims)
        )
    )
    _extreme.jvp(
        lambda dx, x, out, x_shape, axis, keepdims: sum(
            dx * _winners(x, out, x_shape, axis, keepdims), axis=axis, keepdims=keepdims
        )
    )


@primitive
def argmax(x, /, axis=None, keepdims=False):
    """The index of the largest element (of the first, where several are equal)."""
    return np.argmax(x, axis=axis, keepdims=keepdims)


@primitive
def argmin(x, /, axis=None, keepdims=False):
    """The index of the smallest element (of the first, where several are equal)."""
    return np.argmin(x, axis=axis, keepdims=keepdims)


@primitive
def argsort(x, /, axis=-1):
    """The indices that sort ``x`` (stable)."""
    return backend.argsort(x, axis)


@primitive
def all(x, /, axis=None, keepdims=False):
    """Whether all elements are true."""
    return np.all(x, axis=axis, keepdims=keepdims)


@primitive
def any(x, /, axis=None, keepdims=False):
    """Whether any element is true."""
    return np.any(x, axis=axis, keepdims=keepdims)


for _index in (argmax, argmin, argsort, all, any):
    _index.no_derivative()


@primitive
def logsumexp(x, /, axis=None, keepdims=False):
    """``log(sum(exp(x)))`` without overflow; -inf over nothing but -inf."""
    highest = (np.max if x.size else np.sum)(x, axis=axis, keepdims=True)
    shift = np.where(np.isfinite(highest), highest, 0).astype(x.dtype)
    with np.errstate(divide="ignore"):
        out = np.log(np.sum(np.exp(x - shift), axis=axis, keepdims=True)) + shift
    out = out if keepdims else _drop(out, axis)
    return out.astype(x.dtype, copy=False) if backend.is_floating(x.dtype) else out


def _drop(x, axis):
    return x.reshape(()) if axis is None else np.squeeze(x, axis=axis)


def _softmax_of(x, out, x_shape, axis, keepdims):
    total = _kept(out, x_shape, axis, keepdims)
    return exp(x - where(isfinite(total), total, 0.0))


logsumexp.vjp(
    lambda g, x, out, x_shape, axis, keepdims: (
        _kept(g, x_shape, axis, keepdims) * _softmax_of(x, out, x_shape, axis, keepdims)
    )
)
logsumexp.jvp(
    lambda dx, x, out, x_shape, axis, keepdims: sum(
        dx * _softmax_of(x, out, x_shape, axis, keepdims), axis=axis, keepdims=keepdims
    )
)


def cumsum(x, axis=None):
    """Running sums along ``axis`` (over the flattened array for None)."""
    return _cumsum(reshape(x, (-1,)), axis=0) if axis is None else _cumsum(x, axis=axis)


@primitive
def _cumsum(x, /, axis):
    wide = backend.accumulator(x.dtype)
    return np.cumsum(x, axis=axis, dtype=wide).astype(x.dtype) if wide else np.cumsum(x, axis=axis)


_cumsum.vjp(lambda g, axis: flip(_cumsum(flip(g, axis), axis=axis), axis))
_cumsum.multilinear()


def prod(x, axis=None, keepdims=False):
    """The product over ``axis``. Pairs are multiplied in rounds, so zeros need no special case
    in any derivative."""
    if not isinstance(x, Traced):
        return np.prod(x, axis=axis, keepdims=keepdims)
    if not backend.is_floating(x.dtype):
        return box(np.prod(plain(x), axis=axis, keepdims=keepdims))
    shape, axes = x.shape, axes_of(axis, x.ndim)
    x = moveaxis(x, axes, tuple(range(-len(axes), 0))) if axes else x
    x = reshape(x, (*(n for i, n in enumerate(shape) if i not in axes), _count(shape, axis)))
    if x.shape[-1] == 0:
        x = stop_gradient(expand_dims(sum(x, axis=-1), -1)) + 1
    while (n := x.shape[-1]) > 1:
        pairs = x[..., : n - n % 2 : 2] * x[..., 1::2]
        if n % 2:
            pairs = concatenate((pairs, x[..., n - 1 :]), axis=-1)
        x = pairs
    out = tuple(1 if i in axes else n for i, n in enumerate(shape) if keepdims or i not in axes)
    return reshape(x, out)
