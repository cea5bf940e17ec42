"""Ops that move elements without changing them: shapes, axes, joining and splitting."""

import operator

import numpy as np

from minigrad import backend
from minigrad.engine import plain, primitive, unbroadcast


def axis_index(axis, ndim):
    """``axis`` counted from the front. Raises ValueError (AxisError) out of range."""
    return np.lib.array_utils.normalize_axis_index(operator.index(axis), ndim)


@primitive
def reshape(x, /, shape):
    """The elements of ``x`` in row-major order in a new shape; one entry may be -1."""
    return np.reshape(x, shape)


reshape.vjp(lambda g, x_shape: reshape(g, x_shape))
reshape.multilinear()


@primitive
def transpose(x, /, axes=None):
    """Axes in another order (reversed for None): ``out.shape[i] = x.shape[axes[i]]``."""
    return np.transpose(x, axes)


transpose.vjp(lambda g, axes: transpose(g, axes=None if axes is None else _inverse(axes)))
transpose.multilinear()


def _inverse(axes):
    order = [0] * len(axes)
    for i, a in enumerate(axes):
        order[a % len(axes)] = i
    return tuple(order)


@primitive
def swapaxes(x, /, axis1, axis2):
    """Two axes exchanged."""
    return x.swapaxes(axis1, axis2)


swapaxes.vjp(lambda g, axis1, axis2: swapaxes(g, axis1=axis1, axis2=axis2))
swapaxes.multilinear()


def moveaxis(x, source, destination):
    """Axes moved to new places, the others keeping their order."""
    ndim = np.ndim(x)
    source = [axis_index(a, ndim) for a in np.atleast_1d(source)]
    destination = [axis_index(a, ndim) for a in np.atleast_1d(destination)]
    order = [a for a in range(ndim) if a not in source]
    for d, s in sorted(zip(destination, source, strict=True)):
        order.insert(d, s)
    return transpose(x, axes=tuple(order))


def expand_dims(x, axis):
    """New axes of size 1 at the places ``axis`` of the result."""
    axes = axis if isinstance(axis, tuple) else (axis,)
    ndim = np.ndim(x) + len(axes)
    places = {axis_index(a, ndim) for a in axes}
    if len(places) < len(axes):
        raise ValueError(f"expand_dims: axis {axis} names the same place twice")
    sizes = iter(np.shape(x))
    return reshape(x, tuple(1 if i in places else next(sizes) for i in range(ndim)))


def squeeze(x, axis=None):
    """Without the axes of size 1 (all of them, or those named)."""
    shape = np.shape(x)
    if axis is None:
        return reshape(x, tuple(n for n in shape if n != 1))
    places = {axis_index(a, len(shape)) for a in (axis if isinstance(axis, tuple) else (axis,))}
    if wrong := [a for a in sorted(places) if shape[a] != 1]:
        raise ValueError(
            f"squeeze: axis {wrong[0]} of shape {shape} has size {shape[wrong[0]]}, not 1"
        )
    return reshape(x, tuple(n for i, n in enumerate(shape) if i not in places))


@primitive
def broadcast_to(x, /, shape):
    """``x`` repeated along axes of size 1 and new leading axes until it has ``shape`` (a view)."""
    return np.broadcast_to(x, shape)


broadcast_to.vjp(lambda g, x_shape: unbroadcast(g, x_shape))
broadcast_to.multilinear()


def concatenate(arrays, axis=0):
    """Arrays joined along an existing axis; all other axes must agree."""
    return _concatenate(*arrays, axis=axis)


@primitive
def _concatenate(*arrays, axis):
    return np.concatenate(arrays, axis=axis)


def _cut(g, arrays, axis, needs):
    axis, start, pieces = axis_index(axis, g.ndim), 0, []
    for array, need in zip(arrays, needs):
        stop = start + array.shape[axis]
        pieces.append(g[(slice(None),) * axis + (slice(start, stop),)] if need else None)
        start = stop
    return pieces


def _filled(tangents, arrays):
    return [backend.zeros(a.shape, plain(a)) if t is None else t for t, a in zip(tangents, arrays)]


_concatenate.vjp_all(_cut)
_concatenate.jvp_all(lambda dx, arrays, axis: _concatenate(*_filled(dx, arrays), axis=axis))


def stack(arrays, axis=0):
    """Arrays of one shape joined along a new axis."""
    arrays = list(arrays)
    if not arrays:
        raise ValueError("stack: needs at least one array")
    if len({np.shape(a) for a in arrays}) > 1:
        raise ValueError(f"stack: shapes differ: {[np.shape(a) for a in arrays]}")
    return concatenate([expand_dims(a, axis) for a in arrays], axis=axis)


def split(x, indices_or_sections, axis=0):
    """A list of pieces along ``axis``: so many equal ones, or cut at the given indices."""
    axis = axis_index(axis, np.ndim(x))
    size = np.shape(x)[axis]
    if isinstance(indices_or_sections, int | np.integer):
        if indices_or_sections < 1 or size % indices_or_sections:
            raise ValueError(
                f"split: axis {axis} of size {size} does not divide into {indices_or_sections}"
            )
        step = size // indices_or_sections
        cuts = list(range(step, size, step)) if step else [0] * (indices_or_sections - 1)
    else:
        cuts = list(indices_or_sections)
    before = (slice(None),) * axis
    return [x[(*before, slice(a, b))] for a, b in zip([0, *cuts], [*cuts, size])]


def pad(x, pad_width, constant_value=0):
    """``x`` with a border of ``constant_value``: ``pad_width`` is n, (before, after), or one such
    pair per axis, as in NumPy."""
    try:
        width = np.asarray(pad_width)
        if width.size and width.dtype.kind not in "iu":
            raise TypeError(f"pad: pad_width {pad_width} is {width.dtype}; expected integers")
        width = np.broadcast_to(width.astype(int), (np.ndim(x), 2))
    except ValueError:
        raise ValueError(
            f"pad: pad_width {pad_width} does not fit {np.ndim(x)} axes; expected n, "
            "(before, after) or one pair per axis"
        ) from None
    if (width < 0).any():
        raise ValueError(f"pad: pad_width {pad_width} is negative; slice to crop")
    return _pad(x, pad_width=tuple(map(tuple, width.tolist())), constant_value=constant_value)


@primitive
def _pad(x, /, pad_width, constant_value):
    return np.pad(x, pad_width, constant_values=constant_value)


_pad.vjp(
    lambda g, x_shape, pad_width: g[
        tuple(slice(before, before + n) for n, (before, _) in zip(x_shape, pad_width))
    ]
)
_pad.jvp(lambda dx, pad_width: _pad(dx, pad_width=pad_width, constant_value=0))


@primitive
def flip(x, /, axis=None):
    """The order of elements reversed along ``axis`` (all axes for None)."""
    return np.flip(x, axis)


flip.vjp(lambda g, axis: flip(g, axis=axis))
flip.multilinear()


def tile(x, repetitions):
    """``x`` repeated so many times along each axis; missing axes are added in front."""
    times = repetitions if isinstance(repetitions, tuple | list) else (repetitions,)
    shape = (1,) * (len(times) - np.ndim(x)) + tuple(np.shape(x))
    times = (1,) * (len(shape) - len(times)) + tuple(times)
    spread = tuple(n for pair in zip(times, shape) for n in pair)
    x = reshape(x, tuple(n for size in shape for n in (1, size)))
    return reshape(broadcast_to(x, spread), tuple(t * n for t, n in zip(times, shape)))


@primitive
def roll(x, /, shift, axis=None):
    """Elements shifted along ``axis``, those pushed out coming in at the other end."""
    return np.roll(x, shift, axis)


def _back(shift):
    return tuple(-s for s in shift) if isinstance(shift, tuple | list) else -shift


roll.vjp(lambda g, shift, axis: roll(g, shift=_back(shift), axis=axis))
roll.multilinear()
