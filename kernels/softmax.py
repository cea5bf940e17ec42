"""Softmax and its logarithm over the last axis, forward and backward.

Both move as many bytes as a copy and little more happens to each, so time is bytes over bandwidth:
a row is read once, kept in registers, and written once. softmax_long.py has the kernels for rows
too long for that.

    top = max(x), total = sum(e**(x - top))
    softmax = e**(x - top) / total            dx = p (g - sum(p g))
    log_softmax = x - top - log(total)        dx = g - e**y sum(g)

A row of -inf alone gives zeros, and its logarithm -inf.
"""

import functools
import math

import numpy as np

from kernels import cuda
from kernels._host import empty, integer
from kernels._online import exp, finite
from kernels._rows import (
    FLOATS,
    LOWEST,
    ONE,
    ZERO,
    access,
    as_rows,
    higher,
    launch_shape,
    over_row,
    pieces,
    plan,
    rows_a_block,
)
from kernels.softmax_long import backward_long, forward_long


@functools.cache
def make_softmax(dtype, wide, W, T, V, log):
    """Forward for rows of T threads, V accesses of W elements each. log: the logarithm."""
    R, COUNT, WARPS = rows_a_block(T), V * W, max(T // 32, 1)
    read, write = pieces(dtype, wide, T, V)
    highest, total = over_row(T, higher), over_row(T)

    @cuda.jit(fastmath=False, launch_bounds=T * R)
    def softmax(x, out, rows, columns):
        """x, out (rows * columns)."""
        between = cuda.shared.array(2 * WARPS, np.float32)
        values = cuda.local.array(COUNT, np.float32)
        row = cuda.blockIdx.x * R + cuda.threadIdx.y
        start, stop = row * columns, columns if row < rows else 0
        read(x, start, 0, stop, values, LOWEST)
        top = values[0]
        for i in cuda.unroll(1, COUNT):
            top = max(top, values[i])
        top = finite(highest(top, between, 0))
        part = ZERO
        for i in cuda.unroll(COUNT):
            power = exp(values[i] - top)
            part += power
            if not log:
                values[i] = power
        part = total(part, between, WARPS)
        if log:
            rest = np.float32(math.log(part)) if part != ZERO else ZERO
        else:
            rest = ONE / part if part != ZERO else ZERO
        for i in cuda.unroll(COUNT):
            values[i] = values[i] - top - rest if log else values[i] * rest
        write(out, start, 0, stop, values)

    return softmax


@functools.cache
def make_softmax_grad(dtype, wide, W, T, V, log):
    """Backward, from the output y of forward and the gradient g with respect to it."""
    R, COUNT, WARPS = rows_a_block(T), V * W, max(T // 32, 1)
    read, write = pieces(dtype, wide, T, V)
    total = over_row(T)

    @cuda.jit(fastmath=False, launch_bounds=T * R)
    def softmax_grad(y, g, dx, rows, columns):
        """y, g, dx (rows * columns)."""
        between = cuda.shared.array(WARPS, np.float32)
        ys = cuda.local.array(COUNT, np.float32)
        gs = cuda.local.array(COUNT, np.float32)
        row = cuda.blockIdx.x * R + cuda.threadIdx.y
        start, stop = row * columns, columns if row < rows else 0
        read(y, start, 0, stop, ys, ZERO)
        read(g, start, 0, stop, gs, ZERO)
        part = ZERO
        for i in cuda.unroll(COUNT):
            part += gs[i] if log else ys[i] * gs[i]
        part = total(part, between, 0)
        for i in cuda.unroll(COUNT):
            gs[i] = gs[i] - exp(ys[i]) * part if log else ys[i] * (gs[i] - part)
        write(dx, start, 0, stop, gs)

    return softmax_grad


class softmax:
    """x (..., D) -> e**x / sum(e**x) over the last axis. Saved: the output."""

    dtypes = FLOATS

    @staticmethod
    def supports(x, *, axis=-1):
        return _last_axis(x, axis)

    @staticmethod
    def forward(x, *, axis=-1):
        out = _forward(x, axis, log=False)
        return out, (out,)

    @staticmethod
    def backward(g, saved, needs=(True,), *, axis=-1):
        return (_backward(g, *saved, axis, log=False),)

    @staticmethod
    def jvp(arrays, tangents, *, axis=-1):
        # The Jacobian is symmetric: to push a tangent forward is to pull it back.
        out, saved = softmax.forward(*arrays, axis=axis)
        return out, softmax.backward(tangents[0], saved, axis=axis)[0]


class log_softmax:
    """x (..., D) -> x - log(sum(e**x)) over the last axis. Saved: the output."""

    dtypes = FLOATS

    @staticmethod
    def supports(x, *, axis=-1):
        return _last_axis(x, axis)

    @staticmethod
    def forward(x, *, axis=-1):
        out = _forward(x, axis, log=True)
        return out, (out,)

    @staticmethod
    def backward(g, saved, needs=(True,), *, axis=-1):
        return (_backward(g, *saved, axis, log=True),)


def _last_axis(x, axis):
    return x.ndim > 0 and axis in (-1, x.ndim - 1) and x.shape[-1] > 0


def _check_axis(x, axis):
    if integer("axis", axis) not in (-1, x.ndim - 1):
        raise ValueError(f"axis is {axis} of x {x.shape}; these kernels take the last axis alone")


def _forward(x, axis, log, values=32):
    rows, columns, (flat,) = as_rows(x=x)
    _check_axis(x, axis)
    out = empty(x, x.shape)
    if x.size:
        wide, W = access(columns, flat)
        spread = plan(columns, W, values)
        if spread is None:
            forward_long(flat, out.reshape(-1), rows, columns, log)
        else:
            kernel = make_softmax(x.dtype.name, wide, W, *spread, log)
            kernel[launch_shape(rows, spread)](flat, out.reshape(-1), rows, columns)
    return out


def _backward(g, y, axis, log, values=16):
    rows, columns, (flat_y, flat_g) = as_rows(y=y, g=g)
    _check_axis(y, axis)
    dx = empty(y, y.shape)
    if y.size:
        wide, W = access(columns, flat_y, flat_g)
        spread = plan(columns, W, values)
        if spread is None:
            backward_long(flat_y, flat_g, dx.reshape(-1), rows, columns, log)
        else:
            kernel = make_softmax_grad(y.dtype.name, wide, W, *spread, log)
            grid, block = launch_shape(rows, spread)
            kernel[grid, block](flat_y, flat_g, dx.reshape(-1), rows, columns)
    return dx
