"""Activations in one pass over memory. Backward computes what it needs from x again: reading x is
cheaper than saving anything more."""

import math

import numpy as np

from minigrad.cpu import scalar
from minigrad.cpu._arrays import contiguous, symmetric
from minigrad.cpu._jit import jit
from minigrad.cpu.threads import parallel_rows

TANH_SCALE = math.sqrt(2 / math.pi)
INV_ROOT_TWO_PI = 1 / math.sqrt(2 * math.pi)


def _map(kernel, *arrays, nanoseconds):
    """A fresh array that `kernel(start, stop, *arrays, out)` fills, all of them flat.

    `nanoseconds`: the time of one float32 element.
    """
    arrays = [contiguous(x) for x in arrays]
    first = arrays[0]
    out = np.empty(first.shape, first.dtype)
    cost = nanoseconds if first.dtype == np.float32 else 10.0
    flat = [x.reshape(-1) for x in (*arrays, out)]
    parallel_rows(kernel, first.size, *flat, cost=cost, grain=1024)
    return out


@symmetric
class gelu:
    """x (...) -> x Φ(x), Φ being the normal distribution function, or GPT-2's tanh formula."""

    dtypes = ("float32", "float64")

    @staticmethod
    def supports(x, *, approximate):
        return approximate in ("none", "tanh")

    @staticmethod
    def forward(x, *, approximate="none"):
        kernel = _gelu if approximate == "none" else _gelu_tanh
        return _map(kernel, x, nanoseconds=0.3), (x,)

    @staticmethod
    def backward(g, saved, needs, *, approximate="none"):
        kernel = _gelu_grad if approximate == "none" else _gelu_tanh_grad
        return (_map(kernel, *saved, g, nanoseconds=0.4),)


@jit()
def _gelu(start, stop, x, out):
    x, out = x[start:stop], out[start:stop]
    half = x.dtype.type(0.5)
    for i in range(x.size):
        bell = scalar.exp(-half * (x[i] * x[i]))
        out[i] = x[i] * scalar.normal_cdf(x[i], bell)


@jit()
def _gelu_grad(start, stop, x, g, out):
    x, g, out = x[start:stop], g[start:stop], out[start:stop]
    half = x.dtype.type(0.5)
    density = x.dtype.type(INV_ROOT_TWO_PI)
    for i in range(x.size):
        bell = scalar.exp(-half * (x[i] * x[i]))
        out[i] = g[i] * (scalar.normal_cdf(x[i], bell) + x[i] * (density * bell))


@jit()
def _gelu_tanh(start, stop, x, out):
    # (1 + tanh u) / 2 is the sigmoid of 2u.
    x, out = x[start:stop], out[start:stop]
    linear, cubic = x.dtype.type(2 * TANH_SCALE), x.dtype.type(2 * TANH_SCALE * 0.044715)
    for i in range(x.size):
        out[i] = x[i] * scalar.sigmoid(x[i] * (linear + cubic * (x[i] * x[i])))


@jit()
def _gelu_tanh_grad(start, stop, x, g, out):
    x, g, out = x[start:stop], g[start:stop], out[start:stop]
    linear, cubic = x.dtype.type(2 * TANH_SCALE), x.dtype.type(2 * TANH_SCALE * 0.044715)
    one, three = x.dtype.type(1), x.dtype.type(3)
    for i in range(x.size):
        u = cubic * (x[i] * x[i])
        s = scalar.sigmoid(x[i] * (linear + u))
        out[i] = g[i] * (s + s * (one - s) * (x[i] * (linear + three * u)))


@symmetric
class silu:
    """x (...) -> x sigmoid(x)."""

    dtypes = ("float32", "float64")

    @staticmethod
    def forward(x):
        return _map(_silu, x, nanoseconds=0.25), (x,)

    @staticmethod
    def backward(g, saved, needs):
        return (_map(_silu_grad, *saved, g, nanoseconds=0.3),)


@jit()
def _silu(start, stop, x, out):
    x, out = x[start:stop], out[start:stop]
    for i in range(x.size):
        out[i] = x[i] * scalar.sigmoid(x[i])


@jit()
def _silu_grad(start, stop, x, g, out):
    x, g, out = x[start:stop], g[start:stop], out[start:stop]
    one = x.dtype.type(1)
    for i in range(x.size):
        s = scalar.sigmoid(x[i])
        out[i] = g[i] * (s + s * (one - s) * x[i])


class swiglu:
    """gate (...), up (...) -> gate sigmoid(gate) up. Saved: gate and up."""

    dtypes = ("float32", "float64")

    @staticmethod
    def supports(gate, up):
        return gate.shape == up.shape

    @staticmethod
    def forward(gate, up):
        return _map(_swiglu, gate, up, nanoseconds=0.3), (gate, up)

    @staticmethod
    def backward(g, saved, needs):
        gate, up = saved
        return (
            _map(_swiglu_grad, gate, up, g, nanoseconds=0.4) if needs[0] else None,
            _map(_swiglu, gate, g, nanoseconds=0.3) if needs[1] else None,
        )


@jit()
def _swiglu(start, stop, gate, up, out):
    gate, up, out = gate[start:stop], up[start:stop], out[start:stop]
    for i in range(gate.size):
        out[i] = gate[i] * scalar.sigmoid(gate[i]) * up[i]


@jit()
def _swiglu_grad(start, stop, gate, up, g, out):
    gate, up, g, out = gate[start:stop], up[start:stop], g[start:stop], out[start:stop]
    one = gate.dtype.type(1)
    for i in range(gate.size):
        s = scalar.sigmoid(gate[i])
        out[i] = g[i] * up[i] * (s + s * (one - s) * gate[i])


class sigmoid:
    """x (...) -> 1 / (1 + e**-x)."""

    dtypes = ("float32",)

    @staticmethod
    def forward(x):
        out = _map(_sigmoid, x, nanoseconds=0.25)
        return out, (out,)

    @staticmethod
    def backward(g, saved, needs):
        return (_map(_sigmoid_grad, *saved, g, nanoseconds=0.15),)


@jit()
def _sigmoid(start, stop, x, out):
    x, out = x[start:stop], out[start:stop]
    for i in range(x.size):
        out[i] = scalar.sigmoid(x[i])


@jit()
def _sigmoid_grad(start, stop, y, g, out):
    y, g, out = y[start:stop], g[start:stop], out[start:stop]
    one = y.dtype.type(1)
    for i in range(y.size):
        out[i] = g[i] * (y[i] * (one - y[i]))


def erf(x):
    """The error function of each element: x (...) of floats or integers -> (...).

    float32 and float64 keep their type, half precision is computed in float32, and integers give
    float64. Raises TypeError for other types.
    """
    x = np.asarray(x)
    if x.dtype.kind in "iub":
        x = x.astype(np.float64)
    if x.dtype in (np.float32, np.float64):
        return _map(_erf, x, nanoseconds=0.4)
    if x.dtype.itemsize != 2 or x.dtype.kind == "c":
        raise TypeError(f"erf of {x.dtype}; expected floating-point or integer elements")
    return _map(_erf, x.astype(np.float32), nanoseconds=0.4).astype(x.dtype)


@jit()
def _erf(start, stop, x, out):
    x, out = x[start:stop], out[start:stop]
    for i in range(x.size):
        out[i] = scalar.erf(x[i])
