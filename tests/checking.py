"""Comparisons and finite differences that know nothing of the engine they check."""

import math

import ml_dtypes
import numpy as np

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
HALVES = (np.dtype(np.float16), BFLOAT16)

STEP = 1e-3
DIFFERENCE_TOLERANCE = 1e-7


def is_floating(array):
    """Whether an array or dtype-bearing object holds real floating-point numbers."""
    return array.dtype.kind == "f" or array.dtype == BFLOAT16


def tolerance(dtype):
    """Relative error allowed for a result of `dtype`: 64 roundings, or 2 in half precision."""
    dtype = np.dtype(dtype)
    return (2 if dtype in HALVES else 64) * float(ml_dtypes.finfo(dtype).eps)


def as_numpy(value):
    """The NumPy array behind a Tensor, a CuPy array, an array or a number."""
    if hasattr(value, "numpy"):
        value = value.numpy()
    if hasattr(value, "get") and not isinstance(value, dict):
        value = value.get()
    return np.asarray(value)


def assert_close(actual, expected, dtype=None, message="", factor=1.0):
    """`actual` equals `expected` in shape, and in value up to the tolerance of `dtype`.

    The error is measured against the largest expected magnitude (at least 1), because sums cancel.
    `dtype` defaults to that of `actual`; `factor` widens it where an op sums or divides more.
    """
    actual, expected = as_numpy(actual), as_numpy(expected)
    assert actual.shape == expected.shape, f"{message} shape {actual.shape}, not {expected.shape}"
    dtype = actual.dtype if dtype is None else np.dtype(dtype)
    if dtype.kind in "biu":
        np.testing.assert_array_equal(actual, expected, err_msg=message)
        return
    bound = factor * tolerance(dtype)
    actual, expected = actual.astype(np.float64), expected.astype(np.float64)
    finite = np.abs(expected[np.isfinite(expected)])
    scale = max(1.0, float(finite.max())) if finite.size else 1.0
    np.testing.assert_allclose(actual, expected, rtol=bound, atol=bound * scale, err_msg=message)


def inner(xs, ys):
    """The inner product of two equally long lists of arrays, as a Python float."""
    return math.fsum(
        float(np.sum(as_numpy(x).astype(np.float64) * as_numpy(y).astype(np.float64)))
        for x, y in zip(xs, ys, strict=True)
    )


def moved(xs, vs, amount):
    """The point `xs + amount * vs`, array by array."""
    return [x + amount * v for x, v in zip(xs, vs, strict=True)]


def directional_difference(f, xs, vs, step=STEP):
    """The derivative of `f` at `xs` along `vs` by a central difference of fourth order.

    `f` takes as many float64 NumPy arrays as `xs` holds and returns one array or number. The
    truncation error is `step**4 / 30` times the fifth derivative.
    """
    near = f(*moved(xs, vs, step)) - f(*moved(xs, vs, -step))
    far = f(*moved(xs, vs, 2 * step)) - f(*moved(xs, vs, -2 * step))
    return (8 * near - far) / (12 * step)


def jacobian_by_differences(f, x, step=STEP):
    """The Jacobian of `f` at one array, of shape `f(x).shape + x.shape`, entry by entry."""
    columns = []
    for index in np.ndindex(x.shape):
        v = np.zeros_like(x)
        v[index] = 1.0
        columns.append(directional_difference(f, [x], [v], step))
    out_shape = np.shape(f(x))
    return np.stack(columns, axis=-1).reshape(out_shape + x.shape)


def hessian_by_differences(f, x, step=1e-2):
    """The Hessian of a scalar function by differencing differences: coarse, good to about 1e-6."""
    return jacobian_by_differences(lambda y: jacobian_by_differences(f, y, step), x, step)


def directions(rng, xs):
    """One array in [-1, 1] per array of `xs`, of its shape and dtype."""
    return [np.asarray(rng.uniform(-1.0, 1.0, x.shape)).astype(x.dtype) for x in xs]
