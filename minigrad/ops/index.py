"""Reading and adding at places: indexing, take, scatter, sorting, triangles.

Everything here rests on one pair of linear ops, each the other's transpose: ``getitem`` reads at an
index, ``_scatter`` adds into zeros at the same index.
"""

import numpy as np

from minigrad import backend
from minigrad.engine import Traced, box, plain, primitive
from minigrad.ops.elementwise import where
from minigrad.ops.reduce import argsort
from minigrad.ops.shape import axis_index, reshape


def getitem(x, index):
    """``x[index]``: slices, integers, None, Ellipsis, integer arrays and bool masks."""
    return _getitem(x, index=plain_index(index))


def plain_index(index):
    """An index without Tensors in it. Raises IndexError for floats."""
    if isinstance(index, tuple):
        return tuple(plain_index(each) for each in index)
    if isinstance(index, Traced):
        index = plain(index)
    dtype = getattr(index, "dtype", None)
    if (dtype is not None and backend.is_floating(dtype)) or isinstance(index, float):
        raise IndexError(f"getitem: index of dtype {dtype or 'float'}; expected integers or bools")
    return index


@primitive
def _getitem(x, /, index):
    return x[index]


@primitive
def _scatter(x, /, index, shape):
    zeros = backend.zeros(shape, x)
    if _repeats(index):
        backend.scatter_add(zeros, index, x)
    else:
        zeros[index] = x
    return zeros


def _repeats(index):
    """Whether an index may name one element twice: only integer arrays and sequences can."""
    parts = index if isinstance(index, tuple) else (index,)
    return not all(_names_once(part) for part in parts)


def _names_once(part):
    if part is None or part is Ellipsis or isinstance(part, int | slice):
        return True
    return hasattr(part, "dtype") and (part.ndim == 0 or part.dtype.kind == "b")


_getitem.vjp(lambda g, x_shape, index: _scatter(g, index=index, shape=x_shape))
_getitem.multilinear()
_scatter.vjp(lambda g, index: _getitem(g, index=index))
_scatter.multilinear()


def scatter_add(x, index, updates):
    """``x`` with ``updates`` added at ``index``; places named twice get both."""
    shape = np.shape(plain(x)[plain_index(index)])
    if np.shape(updates) != shape:
        try:
            updates = updates + backend.zeros(shape, plain(updates if np.shape(updates) else x))
        except ValueError:
            raise ValueError(
                f"scatter_add: updates {np.shape(updates)} do not fit the indexed shape {shape}"
            ) from None
    return x + _scatter(updates, index=plain_index(index), shape=tuple(np.shape(x)))


def take(x, indices, axis=None):
    """Elements (or slices) of ``x`` at integer ``indices`` along ``axis`` (flattened for None)."""
    indices = plain(indices)
    indices = indices if backend.is_array(indices) else np.asarray(indices)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"take: indices have dtype {indices.dtype}; expected integers")
    if axis is None:
        return getitem(x.reshape(-1), indices)
    axis = axis_index(axis, np.ndim(x))
    return getitem(x, (slice(None),) * axis + (indices,))


def take_along_axis(x, indices, axis):
    """``out[i, j] = x[indices[i, j], j]`` (for axis 0), and so on: one index per output element."""
    indices = plain(indices)
    ndim, shape = np.ndim(x), np.shape(x)
    axis = axis_index(axis, ndim)
    if indices.ndim != ndim or indices.dtype.kind not in "iu":
        raise ValueError(
            f"take_along_axis: indices {indices.dtype} {indices.shape} do not fit x {shape}; "
            f"expected integers with {ndim} axes"
        )
    places = []
    for i in range(ndim):
        along = (1,) * i + (-1,) + (1,) * (ndim - i - 1)
        places.append(
            indices if i == axis else backend.beside(np.arange(shape[i]).reshape(along), indices)
        )
    return getitem(x, tuple(places))


def tril(x, k=0):
    """The lower triangle of the last two axes, up to diagonal ``k``; zeros above."""
    return where(_lower(x, k), x, x.dtype.type(0))


def triu(x, k=0):
    """The upper triangle of the last two axes, from diagonal ``k``; zeros below."""
    return where(_lower(x, k - 1), x.dtype.type(0), x)


def _lower(x, k):
    return backend.beside(np.tri(*np.shape(x)[-2:], k=k, dtype=bool), plain(x))


def _floats(x):
    return backend.is_floating(x.dtype)


def sort(x, axis=-1):
    """Ascending along ``axis`` (of the flattened array for None)."""
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    return take_along_axis(x, argsort(x, axis=axis), axis)


def topk(x, k, axis=-1):
    """The ``k`` largest along ``axis`` and their indices: (values, indices), largest first."""
    axis = axis_index(axis, np.ndim(x))
    size = np.shape(x)[axis]
    if not 0 <= k <= size:
        raise ValueError(f"topk: k = {k} with {size} elements along axis {axis}")
    order = argsort(plain(x) * -1 if _floats(x) else ~plain(x), axis=axis)
    indices = order[(slice(None),) * axis + (slice(0, k),)]
    values = take_along_axis(x, indices, axis)
    return values, (box(indices) if isinstance(values, Traced) else indices)
