"""Sums, maxima and means, over everything or over one axis; and the ladder that leads there.

A reduction reads each number once and does next to nothing with it: what counts is that enough
loads are under way, and how threads put together what they found. Nothing here uses atomics: sums
of floats depend on the order, and this order is always the same.

The ladder sums float32. Each rung but the first reduces a block's share to one number and is
launched again on those, until one is left.
"""

import functools
import math

import numpy as np

from kernels import cuda
from kernels._host import ceil_div, check, empty, integer, multiprocessors, namespace
from kernels._ladder import Rung
from kernels._rows import (
    LOWEST,
    SMALL_BLOCK,
    WARP,
    ZERO,
    access,
    add,
    as_rows,
    over_row,
    pieces,
    power_of_two,
    rows_a_block,
    vectors,
)

BLOCK = 256
RESIDENT = 1024  # threads of a multiprocessor that share out the work: all run at the same time
AHEAD = 4  # rows whose loads are under way at a time


# The ladder


@cuda.jit(fastmath=False)
def one_thread(x, out):
    """x (n) -> out (1), by one thread: each addition waits for the one before, each load too."""
    total = ZERO
    for i in range(x.size):
        total += x[i]
    out[0] = total


@cuda.jit(fastmath=False)
def shared_tree(x, out):
    """x (n) -> out (blocks): half of the threads add the other half's numbers to theirs, then a
    quarter, and so on: log2 of the block's size steps, a barrier after each."""
    between = cuda.shared.array(BLOCK, np.float32)
    i, t = cuda.grid(1), cuda.threadIdx.x
    between[t] = x[i] if i < x.size else ZERO
    half = BLOCK // 2
    while half > 0:
        cuda.syncthreads()
        if t < half:
            between[t] += between[t + half]
        half //= 2
    if t == 0:
        out[cuda.blockIdx.x] = between[0]


_block_total = over_row(BLOCK)


@cuda.jit(fastmath=False)
def shuffled(x, out):
    """x (n) -> out (blocks): within a warp numbers go from register to register, and one barrier
    is left, between the warps."""
    between = cuda.shared.array(BLOCK // WARP, np.float32)
    i = cuda.grid(1)
    total = _block_total(x[i] if i < x.size else ZERO, between, 0)
    if cuda.threadIdx.x == 0:
        out[cuda.blockIdx.x] = total


# The last rung, for all dtypes and axes


@cuda.jit(device=True)
def larger(x, y):
    """The larger number; NaN if one is NaN, as NumPy has it."""
    return x if x > y or x != x else y


@functools.cache
def make_last(dtype, wide, W, T, V, combine=add, start=ZERO):
    """(rows, columns) -> (rows, parts). T threads go through a part of a row, V accesses of W
    elements at a time; each keeps V W sums, so that no addition waits for the one before."""
    R, COUNT, STEP, WARPS = rows_a_block(T), V * W, T * V * W, max(T // WARP, 1)
    read, _ = pieces(dtype, wide, T, V)
    total = over_row(T, combine)

    @cuda.jit(fastmath=False, launch_bounds=T * R)
    def last(x, out, rows, columns, parts, span, scale):
        """x (rows * columns), out (rows * parts); a part is ``span`` columns, a multiple of W."""
        between = cuda.shared.array(WARPS, np.float32)
        taken = cuda.local.array(COUNT, np.float32)
        sums = cuda.local.array(COUNT, np.float32)
        for i in cuda.unroll(COUNT):
            sums[i] = start
        piece = cuda.blockIdx.x * R + cuda.threadIdx.y
        row, first = piece // parts, piece % parts * span
        stop = min(first + span, columns) if row < rows else first
        for column in range(first, stop, STEP):
            read(x, row * columns, column, stop, taken, start)
            for i in cuda.unroll(COUNT):
                sums[i] = combine(sums[i], taken[i])
        for i in cuda.unroll(1, COUNT):
            sums[0] = combine(sums[0], sums[i])
        whole = total(sums[0], between, 0)
        if cuda.threadIdx.x == 0 and row < rows:
            out[piece] = whole * scale

    return last


@functools.cache
def make_first(dtype, wide, W, Y, combine=add, start=ZERO):
    """(batch, rows, columns) -> (batch, slices, columns). In blocks of 32 x Y threads each goes
    down W columns, by every Y-th row of its slice; then the Y sums of a column are put together."""
    _, read, _ = vectors(dtype, wide)

    @cuda.jit(fastmath=False, launch_bounds=(32 * Y, 2 if W == 1 else 1))
    def first(x, out, rows, columns, scale):
        """x (gridDim.z * rows * columns), out (gridDim.z * gridDim.y * columns)."""
        between = cuda.shared.array((Y, 32 * W), np.float32)
        taken = cuda.local.array(AHEAD * W, np.float32)
        sums = cuda.local.array(W, np.float32)
        for i in cuda.unroll(W):
            sums[i] = start
        lane, y, step = cuda.threadIdx.x, cuda.threadIdx.y, cuda.gridDim.y * Y
        column = (cuda.blockIdx.x * 32 + lane) * W
        start_in = cuda.blockIdx.z * rows * columns + column
        start_out = (cuda.blockIdx.z * cuda.gridDim.y + cuda.blockIdx.y) * columns + column
        if column < columns:
            for row in range(cuda.blockIdx.y * Y + y, rows, AHEAD * step):
                for i in cuda.unroll(AHEAD * W):
                    taken[i] = start
                for a in cuda.unroll(AHEAD):
                    if row + a * step < rows:
                        read(x, start_in + (row + a * step) * columns, taken, a * W)
                for a in cuda.unroll(AHEAD):
                    for i in cuda.unroll(W):
                        sums[i] = combine(sums[i], taken[a * W + i])
        for i in cuda.unroll(W):
            between[y, lane * W + i] = sums[i]
        cuda.syncthreads()
        if y == 0 and column < columns:
            for i in cuda.unroll(W):
                for other in cuda.unroll(1, Y):
                    sums[i] = combine(sums[i], between[other, lane * W + i])
                out[start_out + i] = sums[i] * scale

    return first


def reduce_sum(x, axis=None):
    """The sum of x over all axes (None), the first (0) or the last (-1): an array of x's dtype,
    summed in float32. Raises TypeError for other dtypes, ValueError for other axes."""
    return _reduced(x, axis, add, ZERO)


def reduce_mean(x, axis=None):
    """The mean, likewise; NaN over nothing."""
    return _reduced(x, axis, add, ZERO, mean=True)


def reduce_max(x, axis=None):
    """The largest element, likewise; NaN if there is a NaN. Raises ValueError over nothing."""
    return _reduced(x, axis, larger, LOWEST)


def sum_rows(x, dtype="float32"):
    """x (batch, rows, columns) float32 -> (batch, columns), for up to some thousand rows."""
    namespace(x=x)
    check("x", x, ("float32",), ndim=3)
    batch, rows, columns = x.shape
    out = empty(x, (batch, columns), dtype)
    if out.size:
        Y = _height(rows)
        kernel = make_first("float32", False, 1, Y)
        grid = ceil_div(columns, 32), 1, batch
        kernel[grid, (32, Y)](x.reshape(-1), out.reshape(-1), rows, columns, 1.0)
    return out


def _reduced(x, axis, combine, start, mean=False):
    namespace(x=x)
    if axis is not None and integer("axis", axis) not in (0, -1, x.ndim - 1):
        raise ValueError(f"axis is {axis} of x {x.shape}; expected None, 0 or the last")
    _, _, (flat,) = as_rows(x=x.reshape(1) if x.ndim == 0 else x)
    down = axis == 0 and x.ndim > 1
    kept = () if axis is None or x.ndim < 2 else x.shape[1:] if down else x.shape[:-1]
    results = math.prod(kept)
    count = x.size // results if results and x.size else 0
    if results and not count and start == LOWEST:
        raise ValueError(f"the largest of nothing: x has shape {x.shape}, axis is {axis}")
    scale = 1.0 if not mean else 1 / count if count else math.nan
    out = empty(x, results)
    if results and down:
        _down(flat, out, count, results, combine, start, scale)
    elif results:
        _across(flat, out, results, count, combine, start, scale)
    return out.reshape(kept)


def _height(rows):
    """How many threads share the rows of a column, 32 at most."""
    return min(power_of_two(ceil_div(rows, 2 * AHEAD)), 32)


def _across(x, out, rows, columns, combine, start, scale):
    """Over the last axis: few long rows by parts, whose results are reduced once more."""
    wide, W = access(columns, x)
    V = 16 // W
    T = power_of_two(min(ceil_div(columns, V * W), BLOCK))
    T = min(T, WARP) if T < SMALL_BLOCK else T  # a warp a row, while that is a few steps
    steps, R = ceil_div(columns, T * V * W), rows_a_block(T)
    parts = max(min(ceil_div(RESIDENT // (T * R) * multiprocessors(x), rows), steps), 1)
    span = ceil_div(steps, parts) * T * V * W
    parts = ceil_div(columns, span) if span else 1
    target = out if parts == 1 else empty(x, rows * parts, "float32")
    kernel = make_last(x.dtype.name, wide, W, T, V, combine, start)
    once = scale if parts == 1 else 1.0
    kernel[ceil_div(rows * parts, R), (T, R)](x, target, rows, columns, parts, span, once)
    if parts > 1:
        _across(target, out, rows, parts, combine, start, scale)


def _down(x, out, rows, columns, combine, start, scale):
    """Over the first axis: by slices of rows, whose results are reduced once more."""
    wide, W = access(columns, x)
    Y = min(_height(rows), 8)
    blocks = ceil_div(columns, 32 * W)
    room = RESIDENT // (32 * Y) * multiprocessors(x)
    slices = min(ceil_div(room, blocks), ceil_div(rows, 4 * AHEAD * Y))
    target = out if slices <= 1 else empty(x, slices * columns, "float32")
    kernel = make_first(x.dtype.name, wide, W, Y, combine, start)
    grid = blocks, max(slices, 1)
    kernel[grid, (32, Y)](x, target, rows, columns, scale if slices <= 1 else 1.0)
    if slices > 1:
        Y = _height(slices)
        kernel = make_first("float32", False, 1, Y, combine, start)
        kernel[(ceil_div(columns, 32), 1), (32, Y)](target, out, slices, columns, scale)


# Launches of the ladder


def _by_blocks(kernel):
    def launch(x, out):
        blocks = ceil_div(x.size, BLOCK)
        target = out if blocks == 1 else empty(x, blocks)
        kernel[blocks, BLOCK](x, target)
        if blocks > 1:
            launch(target, out)

    return launch


LADDER = (
    Rung(
        "one thread",
        "one thread adds one number after the other",
        1.0,
        "where the ladder begins",
        lambda x, out: one_thread[1, 1](x, out),
        global_bytes=lambda n: (4 * n, 4),
    ),
    Rung(
        "shared tree",
        "a thread a number; a block adds pairs in shared memory, a barrier a step",
        2000.0,
        "all multiprocessors load at once, but a block stands at eight barriers for 1 KB",
        _by_blocks(shared_tree),
    ),
    Rung(
        "shuffles",
        "numbers go from register to register within a warp; one barrier is left",
        1.5,
        "seven of eight barriers and most accesses of shared memory go",
        _by_blocks(shuffled),
    ),
    Rung(
        "16-byte loads",
        "a thread adds many numbers, four loads of 16 bytes under way, before threads meet",
        2.0,
        "enough bytes are under way to fill the memory's pipeline: its bandwidth is the floor",
        lambda x, out: _across(x, out, 1, x.size, add, ZERO, 1.0),
        ("float32", "float16", "bfloat16"),
    ),
)
