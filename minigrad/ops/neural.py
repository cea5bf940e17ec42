"""Fused ops of neural networks. Each body, composed of ops, is the specification; kernels stand in
for it on plain arrays. Rules, where given, save the detour through the composed ops."""

import math

import numpy as np

from minigrad import backend
from minigrad.cpu._arrays import check_ids
from minigrad.engine import fused, plain, primitive
from minigrad.ops.elementwise import (
    astype,
    equal,
    erf,
    exp,
    not_equal,
    sigmoid,
    sqrt,
    square,
    stop_gradient,
    tanh,
    where,
)
from minigrad.ops.index import getitem, take_along_axis
from minigrad.ops.reduce import logsumexp, max, mean, sum
from minigrad.ops.shape import expand_dims

ROOT_HALF = math.sqrt(0.5)
ROOT_TWO_OVER_PI = math.sqrt(2 / math.pi)
INV_ROOT_TWO_PI = 1 / math.sqrt(2 * math.pi)


def _wide(x):
    """Half precision as float32 for sums and powers; others as they are."""
    return astype(x, dtype=np.float32) if x.dtype in backend.HALF else x


def _narrow(x, dtype):
    return x if x.dtype == dtype or dtype not in backend.HALF else astype(x, dtype=dtype)


@fused
def gelu(x, /, approximate="none"):
    """``x`` times the normal distribution function of ``x`` (Hendrycks and Gimpel, 2016);
    ``approximate="tanh"`` is GPT-2's formula."""
    wide = _wide(x)
    if approximate == "none":
        return _narrow(wide * (0.5 * (1 + erf(wide * ROOT_HALF))), x.dtype)
    if approximate == "tanh":
        inner = ROOT_TWO_OVER_PI * (wide + 0.044715 * (wide * wide * wide))
        return _narrow(0.5 * wide * (1 + tanh(inner)), x.dtype)
    raise ValueError(f'approximate is {approximate!r}; expected "none" or "tanh"')


def _dgelu(d, x, approximate):
    if approximate == "none":
        return d * (0.5 * (1 + erf(x * ROOT_HALF)) + x * (INV_ROOT_TWO_PI * exp(-0.5 * (x * x))))
    squared = x * x
    t = tanh(ROOT_TWO_OVER_PI * (x + 0.044715 * (x * squared)))
    inner = ROOT_TWO_OVER_PI * (1 + 3 * 0.044715 * squared)
    return d * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner)


gelu.vjp(_dgelu)
gelu.jvp(_dgelu)
gelu.kernel("cpu", "minigrad.cpu.activation:gelu")


@fused
def silu(x):
    """``x * sigmoid(x)``, also called swish."""
    wide = _wide(x)
    return _narrow(wide * sigmoid(wide), x.dtype)


def _dsilu(d, x):
    s = sigmoid(x)
    return d * (s * (1 + x * (1 - s)))


silu.vjp(_dsilu)
silu.jvp(_dsilu)
silu.kernel("cpu", "minigrad.cpu.activation:silu")


@fused
def swiglu(gate, up):
    """``silu(gate) * up``: the gated unit of Shazeer (2020), without its products."""
    if gate.shape != up.shape:
        raise ValueError(f"gate has shape {tuple(gate.shape)} and up {tuple(up.shape)}")
    return silu(gate) * up


swiglu.kernel("cpu", "minigrad.cpu.activation:swiglu")


def _shifted(x, axis):
    """``x`` less its largest entry: the same softmax, and no digits lost to a common offset."""
    highest = stop_gradient(max(x, axis=axis, keepdims=True))
    return x - where(equal(highest, -math.inf), 0.0, highest)


@fused
def softmax(x, /, axis=-1):
    """``exp(x)`` divided by its sum over ``axis``; a row of -inf alone gives zeros."""
    if 0 in np.shape(x):
        return x * 1
    e = exp(_shifted(_wide(x), axis))
    total = sum(e, axis=axis, keepdims=True)
    return _narrow(e / where(equal(total, 0), 1.0, total), x.dtype)


def _dsoftmax(d, out, axis):
    weighted = d * out
    return weighted - out * sum(weighted, axis=axis, keepdims=True)


softmax.vjp(_dsoftmax)
softmax.jvp(_dsoftmax)
softmax.kernel("cpu", "minigrad.cpu.softmax:softmax")
softmax.kernel("cuda", "kernels.softmax:softmax")


@fused
def log_softmax(x, /, axis=-1):
    """The logarithm of ``softmax``, without ever taking the logarithm of 0."""
    if 0 in np.shape(x):
        return x * 1
    shifted = _shifted(_wide(x), axis)
    total = logsumexp(shifted, axis=axis, keepdims=True)
    return _narrow(shifted - where(equal(total, -math.inf), 0.0, total), x.dtype)


log_softmax.vjp(lambda g, out, axis: g - exp(out) * sum(g, axis=axis, keepdims=True))
log_softmax.jvp(lambda dx, out, axis: dx - sum(exp(out) * dx, axis=axis, keepdims=True))
log_softmax.kernel("cpu", "minigrad.cpu.softmax:log_softmax")
log_softmax.kernel("cuda", "kernels.softmax:log_softmax")


@fused
def cross_entropy(logits, targets, /, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    """The negative log-probability that ``softmax(logits)`` gives the targets.

    logits (..., V); targets (...) class indices, or (..., V) probabilities. Targets equal to
    ``ignore_index`` do not count. ``label_smoothing`` mixes in that much of the uniform
    distribution. ``reduction``: "mean" over counted targets, "sum", or "none" for shape (...).
    Raises IndexError for a class outside [0, V), ValueError for shapes that do not fit.
    """
    _check_targets(logits, targets, ignore_index, reduction)
    classes = logits.shape[-1]
    wide = _wide(logits)
    if backend.is_floating(targets.dtype):
        weights = targets
        if label_smoothing:
            weights = targets * (1 - label_smoothing) + label_smoothing / classes
        surprise = where(equal(weights, 0), 0.0, weights * log_softmax(wide, axis=-1))
        losses, counted = -sum(surprise, axis=-1), math.prod(targets.shape[:-1])
    else:
        valid = not_equal(plain(targets), ignore_index)
        index = expand_dims(np.where(valid, plain(targets), 0), -1)
        wide = _shifted(wide, -1) if wide.shape[-1] else wide
        total = logsumexp(wide, axis=-1)
        losses = total - take_along_axis(wide, index, -1).reshape(targets.shape)
        if label_smoothing:
            uniform = total - mean(wide, axis=-1)
            losses = (1 - label_smoothing) * losses + label_smoothing * uniform
        losses, counted = where(valid, losses, 0.0), valid.sum()
    if reduction != "none":
        losses = sum(losses)
    if reduction == "mean":
        losses = losses / float(counted) if counted else losses * math.nan
    return _narrow(losses, logits.dtype)


def _check_targets(logits, targets, ignore_index, reduction):
    shape, dtype = tuple(np.shape(targets)), targets.dtype
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'reduction is {reduction!r}; expected "mean", "sum" or "none"')
    if logits.ndim == 0 or not backend.is_floating(logits.dtype):
        raise TypeError(f"logits are {logits.dtype} {logits.shape}; expected floats (..., V)")
    want = logits.shape if backend.is_floating(dtype) else logits.shape[:-1]
    if dtype.kind == "b" or shape != tuple(want):
        raise ValueError(
            f"targets {dtype} {shape} do not fit logits {logits.shape}; expected class indices "
            f"{tuple(logits.shape[:-1])} or probabilities {tuple(logits.shape)}"
        )
    if dtype.kind in "iu":
        check_ids(plain(targets), logits.shape[-1], "targets", ignore_index)


cross_entropy.kernel("cpu", "minigrad.cpu.softmax:cross_entropy")
cross_entropy.kernel("cuda", "kernels.cross_entropy:cross_entropy")


@fused
def layer_norm(x, weight=None, bias=None, /, eps=1e-5):
    """Each row of the last axis shifted and scaled to mean 0 and variance 1, then times ``weight``
    and plus ``bias``, both (D,) (Ba, Kiros and Hinton, 2016). x (..., D)."""
    _check_last_axis(x, weight=weight, bias=bias)
    wide = _wide(x)
    centred = wide - mean(wide, axis=-1, keepdims=True)
    out = centred / sqrt(mean(square(centred), axis=-1, keepdims=True) + eps)
    return _affine(_narrow(out, x.dtype), weight, bias)


layer_norm.kernel("cpu", "minigrad.cpu.norm:layer_norm")
layer_norm.kernel("cuda", "kernels.norm:layer_norm")


@fused
def rms_norm(x, weight=None, /, eps=1e-5):
    """Each row of the last axis divided by its root mean square, then times ``weight`` (D,)
    (Zhang and Sennrich, 2019). x (..., D)."""
    _check_last_axis(x, weight=weight)
    wide = _wide(x)
    out = wide / sqrt(mean(square(wide), axis=-1, keepdims=True) + eps)
    return _affine(_narrow(out, x.dtype), weight, None)


rms_norm.kernel("cpu", "minigrad.cpu.norm:rms_norm")
rms_norm.kernel("cuda", "kernels.norm:rms_norm")


def _affine(x, weight, bias):
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _check_last_axis(x, **parameters):
    for name, p in parameters.items():
        if p is not None and tuple(p.shape) != tuple(x.shape[-1:]):
            raise ValueError(
                f"{name} has shape {tuple(p.shape)}; expected {tuple(x.shape[-1:])}, the last axis "
                f"of x {tuple(x.shape)}"
            )


@fused
def embedding(weight, ids):
    """Row ``ids[...]`` of ``weight``: weight (V, D), integer ids of any shape, out (..., D).

    Raises IndexError for an id outside [0, V), TypeError for ids that are not integers.
    """
    ids = plain(ids)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"ids have dtype {ids.dtype}; expected integers")
    if weight.ndim != 2:
        raise ValueError(f"weight has shape {tuple(weight.shape)}; expected (V, D)")
    check_ids(ids, weight.shape[0], "ids")
    return getitem(weight, ids)


embedding.kernel("cpu", "minigrad.cpu.embedding:embedding")


def dropout(x, p=0.5, training=True):
    """Each element zeroed with probability ``p``, the others divided by 1 - p; the identity when
    not training. Draws from the generator that ``manual_seed`` seeds."""
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p is {p}; expected 0 <= p <= 1")
    if not backend.is_floating(x.dtype):
        raise TypeError(f"dropout: x has dtype {x.dtype}; expected floating point")
    if not training or p == 0:
        return x
    if p == 1:
        return x * 0
    mask = backend.random_mask(np.shape(x), 1 - p, plain(x))
    return _dropout(x, mask, scale=1 / (1 - p))


@primitive
def _dropout(x, mask, /, scale):
    return x * mask * x.dtype.type(scale)


_dropout.vjp(lambda g, mask, scale: _dropout(g, mask, scale=scale), None)
_dropout.jvp(lambda dx, mask, scale: _dropout(dx, mask, scale=scale), None)


def one_hot(ids, num_classes, dtype=np.float32):
    """(...) integer ids to (..., num_classes), 1 at the id and 0 elsewhere."""
    ids = plain(ids)
    check_ids(ids, num_classes, "one_hot: ids")
    return (ids[..., None] == backend.beside(np.arange(num_classes), ids)).astype(dtype)
