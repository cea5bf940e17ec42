"""Layer norm and RMS norm over the last axis; norm_grad.py has their backward.

Each row is read once, kept in registers, and written once. The variance is that of the values less
their mean, a second sum over registers, not the difference of two large sums.

    y = (x - mean) rstd           out = y weight + bias

RMS norm is the same with a mean of 0 and without bias.
"""

import functools
import math

import numpy as np

from kernels import cuda
from kernels._host import empty, multiprocessors, number
from kernels._rows import (
    FLOATS,
    ONE,
    ZERO,
    access,
    as_rows,
    launch_shape,
    over_row,
    pieces,
    plan,
    rows_a_block,
    vectors,
)
from kernels.norm_grad import norm_backward, parameters_of

VALUES = 8  # elements that a thread holds of a row that does not fit
LONG = 512  # threads for it


@functools.cache
def make_norm(dtype, wide, W, T, V, centred, scaled, shifted):
    """Forward for rows of T threads, V accesses of W elements each. centred: layer norm, else RMS
    norm; scaled, shifted: with weight, with bias."""
    R, COUNT, WARPS = rows_a_block(T), V * W, max(T // 32, 1)
    read, _ = pieces(dtype, wide, T, V)
    _, _, write = vectors(dtype, wide)
    _, recall, _ = vectors(dtype, wide, once=False)
    total = over_row(T)

    @cuda.jit(fastmath=False, launch_bounds=(T * R, 1024 // (T * R)))
    def norm(x, weight, bias, out, mean, rstd, rows, columns, eps):
        """x, out (rows * columns); weight, bias (columns); mean, rstd (rows) float32."""
        between = cuda.shared.array(2 * WARPS, np.float32)
        values = cuda.local.array(COUNT, np.float32)
        scale, shift = cuda.local.array(W, np.float32), cuda.local.array(W, np.float32)
        row = cuda.blockIdx.x * R + cuda.threadIdx.y
        start, stop = row * columns, columns if row < rows else 0
        read(x, start, 0, stop, values, ZERO)
        share, m, squares = ONE / np.float32(columns), ZERO, ZERO
        if centred:
            for i in cuda.unroll(COUNT):
                m += values[i]
            m = total(m, between, 0) * share
        for v in cuda.unroll(V):
            if (v * T + cuda.threadIdx.x) * W < stop:
                for i in cuda.unroll(v * W, v * W + W):
                    values[i] -= m
                    squares += values[i] * values[i]
        squares = total(squares, between, WARPS)
        r = ONE / np.float32(math.sqrt(squares * share + eps))
        # Weight and bias come from the first-level cache, an access at a time: to hold all of them
        # takes registers from other rows, and with them loads that could be under way.
        for v in cuda.unroll(V):
            column = (v * T + cuda.threadIdx.x) * W
            if column < stop:
                if scaled:
                    recall(weight, column, scale, 0)
                if shifted:
                    recall(bias, column, shift, 0)
                for i in cuda.unroll(W):
                    values[v * W + i] *= r
                    if scaled:
                        values[v * W + i] *= scale[i]
                    if shifted:
                        values[v * W + i] += shift[i]
                write(out, start + column, values, v * W)
        if row < rows and cuda.threadIdx.x == 0:
            rstd[row] = r
            if centred:
                mean[row] = m

    return norm


@functools.cache
def make_norm_long(dtype, wide, W, T, centred, scaled, shifted):
    """Forward for rows that do not fit in the registers of a block: read three times, the second
    and third time from the second-level cache."""
    V, WARPS, STEP = VALUES // W, T // 32, T * VALUES
    read, write = pieces(dtype, wide, T, V)
    total = over_row(T)

    @cuda.jit(fastmath=False, launch_bounds=T)
    def norm_long(x, weight, bias, out, mean, rstd, rows, columns, eps):
        """Arguments as those of norm."""
        between = cuda.shared.array(2 * WARPS, np.float32)
        values = cuda.local.array(VALUES, np.float32)
        scale, shift = cuda.local.array(VALUES, np.float32), cuda.local.array(VALUES, np.float32)
        share, turn = ONE / np.float32(columns), 0
        for row in range(cuda.blockIdx.x, rows, cuda.gridDim.x):
            start, m, squares = row * columns, ZERO, ZERO
            if centred:
                for column in range(0, columns, STEP):
                    read(x, start, column, columns, values, ZERO)
                    for i in cuda.unroll(VALUES):
                        m += values[i]
                m = total(m, between, 0) * share
            for column in range(0, columns, STEP):
                read(x, start, column, columns, values, m)
                for i in cuda.unroll(VALUES):
                    squares += (values[i] - m) * (values[i] - m)
            squares = total(squares, between, WARPS if centred else turn)
            turn = WARPS - turn
            r = ONE / np.float32(math.sqrt(squares * share + eps))
            for column in range(0, columns, STEP):
                read(x, start, column, columns, values, ZERO)
                if scaled:
                    read(weight, 0, column, columns, scale, ZERO)
                if shifted:
                    read(bias, 0, column, columns, shift, ZERO)
                for i in cuda.unroll(VALUES):
                    values[i] = (values[i] - m) * r
                    if scaled:
                        values[i] *= scale[i]
                    if shifted:
                        values[i] += shift[i]
                write(out, start, column, columns, values)
            if cuda.threadIdx.x == 0:
                rstd[row] = r
                if centred:
                    mean[row] = m

    return norm_long


class layer_norm:
    """x (..., D), weight (D,) or None, bias (D,) or None -> (x - mean) / sqrt(var + eps) * weight
    + bias, with the mean and variance of each row.

    Saved: x, weight, and float32 mean (rows,) and rstd (rows,), 1 / sqrt(var + eps).
    """

    dtypes = FLOATS

    @staticmethod
    def supports(x, weight, bias, *, eps=1e-5):
        return _fits(x, weight, bias)

    @staticmethod
    def forward(x, weight=None, bias=None, *, eps=1e-5):
        out, mean, rstd = _forward(x, weight, bias, eps, centred=True)
        return out, (x, weight, mean, rstd)

    @staticmethod
    def backward(g, saved, needs=(True, True, True), *, eps=1e-5):
        x, weight, mean, rstd = saved
        grads = norm_backward(x, g, weight, mean, rstd)
        return tuple(grad if need else None for grad, need in zip(grads, needs))


class rms_norm:
    """x (..., D), weight (D,) or None -> x / sqrt(mean of squares + eps) * weight, row by row.

    Saved: x, weight, and float32 rstd (rows,), 1 / sqrt(mean of squares + eps).
    """

    dtypes = FLOATS

    @staticmethod
    def supports(x, weight, *, eps=1e-5):
        return _fits(x, weight)

    @staticmethod
    def forward(x, weight=None, *, eps=1e-5):
        out, _, rstd = _forward(x, weight, None, eps, centred=False)
        return out, (x, weight, rstd)

    @staticmethod
    def backward(g, saved, needs=(True, True), *, eps=1e-5):
        x, weight, rstd = saved
        grads = norm_backward(x, g, weight, None, rstd)
        return tuple(grad if need else None for grad, need in zip(grads, needs))


def _fits(x, *parameters):
    return x.ndim > 0 and all(p is None or p.shape == x.shape[-1:] for p in parameters)


def _forward(x, weight, bias, eps, centred, values=32):
    """(out, mean, rstd)."""
    rows, columns, (flat,) = as_rows(x=x)
    parameters, eps = parameters_of(x, weight=weight, bias=bias), number("eps", eps, 0)
    out = empty(x, x.shape)
    mean, rstd = empty(x, rows if centred else 0, "float32"), empty(x, rows, "float32")
    if not x.size:
        mean[...] = rstd[...] = np.nan
        return out, mean, rstd
    wide, W = access(columns, flat, *(p for p in parameters if p is not None))
    given = x.dtype.name, wide, W
    flags = centred, weight is not None, bias is not None
    weight, bias = (flat if p is None else p for p in parameters)
    arguments = flat, weight, bias, out.reshape(-1), mean, rstd, rows, columns, eps
    spread = plan(columns, W, values)
    if spread is None:
        kernel = make_norm_long(*given, LONG, *flags)
        kernel[min(rows, 2 * multiprocessors(x)), LONG](*arguments)
    else:
        kernel = make_norm(*given, *spread, *flags)
        kernel[launch_shape(rows, spread)](*arguments)
    return out, mean, rstd
