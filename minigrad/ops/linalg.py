"""Matrix products and linear algebra on the last two axes."""

import builtins
import math

import numpy as np

from minigrad import backend
from minigrad.engine import fused, plain, primitive
from minigrad.ops.einsum import einsum
from minigrad.ops.elementwise import multiply
from minigrad.ops.index import getitem, tril
from minigrad.ops.reduce import sum
from minigrad.ops.shape import expand_dims, reshape


def matmul(x, y):
    """``x @ y``: (..., n, k) times (..., k, m) gives (..., n, m); vectors as in NumPy.

    Raises ValueError when the inner sizes or the leading axes do not fit.
    """
    try:
        nx, ny = x.ndim, y.ndim
    except AttributeError:  # nested lists
        return matmul(*(v if hasattr(v, "ndim") else backend.array(v) for v in (x, y)))
    if nx > 1 and ny > 1:
        return _matmul(x, y)
    if nx == 0 or ny == 0:
        raise ValueError("matmul: a scalar has no axis to sum over; use * instead")
    if nx == 1:
        product = _matmul(expand_dims(x, 0), y if ny > 1 else expand_dims(y, 1))
        return reshape(product, product.shape[:-2] + product.shape[-1:] if ny > 1 else ())
    product = _matmul(x, expand_dims(y, 1))
    return reshape(product, product.shape[:-1])


@primitive
def _matmul(x, y):
    if x.ndim > 2 and y.ndim == 2:  # one large product in place of a small one per batch entry
        flat = x.reshape(_rows(x), x.shape[-1])
        return backend.matmul(flat, y).reshape(*x.shape[:-1], y.shape[-1])
    return backend.matmul(x, y)


def _rows(x):
    """How many rows all matrices of a batch have together (-1 could not tell if one is empty)."""
    return math.prod(x.shape[:-1])


def _dmatmul_dy(g, x, y_shape):
    if len(y_shape) == 2 and x.ndim > 2:  # sum over the batch inside the product
        rows = _rows(x)
        x, g = reshape(x, (rows, x.shape[-1])), reshape(g, (rows, g.shape[-1]))
    return _product(x.swapaxes(-1, -2), g)


def _product(x, y):
    """``x @ y``; for two plain matrices without the detour through the engine."""
    if type(x) is type(y) is np.ndarray and x.ndim == y.ndim == 2:
        return backend.matmul(x, y)
    return _matmul(x, y)


_matmul.vjp(lambda g, y: _product(g, y.swapaxes(-1, -2)), _dmatmul_dy)
_matmul.multilinear()


@fused
def linear(x, weight, bias=None):
    """``x @ weight + bias``: x (..., K), weight (K, N), bias (N,); out (..., N)."""
    y = matmul(x, weight)
    return y if bias is None else y + bias


linear.kernel("cpu", "minigrad.cpu.decode:linear")


def dot(x, y):
    """NumPy's dot: the sum over the last axis of ``x`` and the last but one of ``y``."""
    nx, ny = np.ndim(x), np.ndim(y)
    if nx == 0 or ny == 0:
        return multiply(x, y)
    if ny <= 2:
        return matmul(x, y)
    left = "abcdefghijkl"[:nx]
    right = "mnopqrstuvw"[: ny - 2] + left[-1] + "z"
    return einsum(f"{left},{right}->{left[:-1]}{right[:-2]}z", x, y)


def outer(x, y):
    """All products ``x[i] * y[j]`` of two (flattened) vectors: (n,), (m,) to (n, m)."""
    return reshape(x, (-1, 1)) * reshape(y, (1, -1))


def trace(x):
    """The sum of the diagonal of the last two axes."""
    if np.ndim(x) < 2:
        raise ValueError(f"trace: x has shape {np.shape(x)}; expected a matrix or a batch of them")
    n = builtins.min(np.shape(x)[-2:])
    diagonal = backend.beside(np.arange(n), plain(x))
    return sum(getitem(x, (..., diagonal, diagonal)), axis=-1)


@primitive
def inv(x):
    """The inverse of square matrices. Raises numpy.linalg.LinAlgError for singular ones."""
    return np.linalg.inv(x)


def _t(x):
    return x.swapaxes(-1, -2)


inv.vjp(lambda g, out: -_matmul(_matmul(_t(out), g), _t(out)))
inv.jvp(lambda dx, out: -_matmul(_matmul(out, dx), out))


def solve(a, b):
    """The ``x`` with ``a @ x = b``: a (..., n, n), b (n,) or (..., n, m)."""
    if np.ndim(b) == 1:
        x = _solve(a, expand_dims(b, 1))
        return reshape(x, x.shape[:-1])
    return _solve(a, b)


@primitive
def _solve(a, b):
    return backend.solve(a, b)


_solve.vjp(
    lambda g, a, out: -_matmul(_solve(_t(a), g), _t(out)),
    lambda g, a: _solve(_t(a), g),
)
_solve.jvp(
    lambda da, a, out: -_solve(a, _matmul(da, out)),
    lambda db, a: _solve(a, db),
)


@primitive
def cholesky(x):
    """The lower triangular ``L`` with ``L @ L.T = x`` for symmetric positive definite ``x``."""
    return np.linalg.cholesky(x)


def _halved(x):
    """The lower triangle with its diagonal halved."""
    return tril(x) - 0.5 * (x * backend.beside(np.eye(x.shape[-1], dtype=x.dtype), plain(x)))


def _cholesky_vjp(g, out):
    inner = _halved(_matmul(_t(out), tril(g)))
    s = _solve(_t(out), _t(_solve(_t(out), _t(inner))))
    return 0.5 * (s + _t(s))


def _cholesky_jvp(dx, out):
    dx = 0.5 * (dx + _t(dx))
    inner = _solve(out, _t(_solve(out, dx)))
    return _matmul(out, _halved(inner))


cholesky.vjp(_cholesky_vjp)
cholesky.jvp(_cholesky_jvp)
