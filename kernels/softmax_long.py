"""Softmax of rows that do not fit in registers: 50,000 logits are 200 KB.

Such a row must be seen twice: no element of its softmax is known before the last has been read. A
block goes through its rows with one step of reading and one of writing side by side: while it
writes a row it already reads the next one, so that loads, arithmetic and stores are always under
way together. What it has read it leaves in shared memory, up to 227 KB, where it finds it when that
row's turn to be written has come; of a row longer still, the rest is read again, and most of that
comes from the second-level cache, for a multiprocessor has one row there. Each thread meets its own
elements again and nobody else's: the only barriers are those of the sums.
"""

import functools
import math

import numpy as np

from kernels import cuda
from kernels._host import ceil_div, multiprocessors, shared_bytes
from kernels._online import exp, finite, online
from kernels._rows import (
    ELEMENT,
    LOWEST,
    ONE,
    ZERO,
    access,
    higher,
    over_row,
    pieces,
    shared_pieces,
)

RESERVED = 1024  # bytes of shared memory: a block's sums, and what the driver keeps


def in_hand(wide):
    """How many elements of a row a thread has in hand; addresses of single ones take registers."""
    return 8 if wide else 4


@functools.cache
def make_long_softmax(dtype, wide, W, T, log):
    """Forward by blocks of T threads. log: the logarithm."""
    VALUES, WARPS, element = in_hand(wide), T // 32, ELEMENT[dtype]
    STEP = T * VALUES
    read, write = pieces(dtype, wide, T, VALUES // W)
    keep, recall = shared_pieces(dtype, wide, T, VALUES // W)
    fold, highest, total = online(VALUES), over_row(T, higher), over_row(T)

    @cuda.jit(fastmath=False, launch_bounds=(T, 1024 // T))
    def long_softmax(x, out, rows, columns, held):
        """x, out (rows * columns); ``held`` of the columns stay in shared memory."""
        between = cuda.shared.array(2 * WARPS, np.float32)
        store = cuda.shared.array(0, element)
        values = cuda.local.array(VALUES, np.float32)
        ahead = cuda.local.array(VALUES, np.float32)
        stride, top, rest = cuda.gridDim.x, ZERO, ZERO
        # The first time there is no row to write, the last time none to read.
        for following in range(cuda.blockIdx.x, rows + stride, stride):
            row = following - stride
            start, this = following * columns, row * columns
            stop, this_stop = columns if following < rows else 0, columns if row >= 0 else 0
            mine, part = LOWEST, ZERO
            for column in range(0, columns, STEP):
                read(x, start, column, stop, ahead, LOWEST)
                if column < held:
                    recall(store, column, values)
                else:
                    read(x, this, column, this_stop, values, LOWEST)
                for i in cuda.unroll(VALUES):
                    values[i] = values[i] - top - rest if log else exp(values[i] - top) * rest
                write(out, this, column, this_stop, values)
                mine, part = fold(ahead, mine, part)
                if column < held:
                    keep(store, column, ahead)
            top = finite(highest(mine, between, 0))
            part = total(part * exp(mine - top), between, WARPS)
            if log:
                rest = np.float32(math.log(part)) if part != ZERO else ZERO
            else:
                rest = ONE / part if part != ZERO else ZERO

    return long_softmax


@functools.cache
def make_long_softmax_grad(dtype, wide, W, T, log):
    """Backward; the sum over a row needs y and g, or for the logarithm g alone."""
    VALUES, WARPS, element = in_hand(wide), T // 32, ELEMENT[dtype]
    STEP = T * VALUES
    read, write = pieces(dtype, wide, T, VALUES // W)
    keep, recall = shared_pieces(dtype, wide, T, VALUES // W)
    total = over_row(T)

    @cuda.jit(fastmath=False, launch_bounds=(T, 1024 // T))
    def long_softmax_grad(y, g, dx, rows, columns, held):
        """y, g, dx (rows * columns)."""
        between = cuda.shared.array(2 * WARPS, np.float32)
        store = cuda.shared.array(0, element)
        ys, gs = cuda.local.array(VALUES, np.float32), cuda.local.array(VALUES, np.float32)
        next_y = cuda.local.array(VALUES, np.float32)
        next_g = cuda.local.array(VALUES, np.float32)
        stride, turn, sum_yg = cuda.gridDim.x, 0, ZERO
        for following in range(cuda.blockIdx.x, rows + stride, stride):
            row = following - stride
            start, this = following * columns, row * columns
            stop, this_stop = columns if following < rows else 0, columns if row >= 0 else 0
            part = ZERO
            for column in range(0, columns, STEP):
                read(g, start, column, stop, next_g, ZERO)
                if log:
                    read(y, this, column, this_stop, ys, ZERO)
                else:
                    read(y, start, column, stop, next_y, ZERO)
                if column < held:
                    recall(store, column, gs)
                    if not log:
                        recall(store, held + column, ys)
                else:
                    read(g, this, column, this_stop, gs, ZERO)
                    if not log:
                        read(y, this, column, this_stop, ys, ZERO)
                for i in cuda.unroll(VALUES):
                    gs[i] = gs[i] - exp(ys[i]) * sum_yg if log else ys[i] * (gs[i] - sum_yg)
                write(dx, this, column, this_stop, gs)
                for i in cuda.unroll(VALUES):
                    part += next_g[i] if log else next_y[i] * next_g[i]
                if column < held:
                    keep(store, column, next_g)
                    if not log:
                        keep(store, held + column, next_y)
            sum_yg = total(part, between, turn)
            turn = WARPS - turn

    return long_softmax_grad


def forward_long(x, out, rows, columns, log, T=None, most=None):
    """Softmax of flat x (rows * columns) into out. T threads a block and at most so many bytes of
    shared memory, chosen where None."""
    wide, W = access(columns, x)
    T, *launch, held = _room(x, rows, columns, x.itemsize, wide, T, most)
    make_long_softmax(x.dtype.name, wide, W, T, log)[*launch](x, out, rows, columns, held)


def backward_long(y, g, dx, rows, columns, log, T=None, most=None):
    """The gradient into dx, all flat (rows * columns)."""
    wide, W = access(columns, y, g)
    each = y.itemsize if log else 2 * y.itemsize
    T, *launch, held = _room(y, rows, columns, each, wide, T, most)
    make_long_softmax_grad(y.dtype.name, wide, W, T, log)[*launch](y, g, dx, rows, columns, held)


def _room(x, rows, columns, each, wide, T, most):
    """(T, blocks, T, None, bytes of shared memory, columns held there), ``each`` bytes a column.
    Two blocks share a multiprocessor where it has room for two rows."""
    most = shared_bytes(x) - RESERVED if most is None else most
    if T is None:
        half = 512 * in_hand(wide)
        T = 512 if ceil_div(columns, half) * half * each <= most // 2 else 1024
    step = T * in_hand(wide)
    held = min(ceil_div(columns, step), most // (step * each)) * step
    return T, min(rows, multiprocessors(x) * (1024 // T)), T, None, held * each, held
