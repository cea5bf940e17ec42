"""Backward of layer norm and RMS norm.

x and g are read once for everything. The blocks of one launch share out the rows; each thread keeps
the sums for the columns of weight and bias that it always meets, and leaves them in an array
(groups, columns). A second launch adds these up, in a fixed order.

    y = (x - mean) rstd           h = g weight
    dx = rstd (h - mean(h) - y mean(h y))    dweight = sum(g y), dbias = sum(g) over rows

RMS norm has a mean of 0 and no term mean(h).
"""

import functools

import numpy as np

from kernels import cuda, ptx
from kernels._host import ceil_div, check, empty, multiprocessors, namespace, shared_bytes
from kernels._rows import (
    ELEMENT,
    ONE,
    ZERO,
    access,
    as_rows,
    flattened,
    over_row_together,
    pieces,
    plan,
    rows_a_block,
)
from kernels._stages import WAITS, staged
from kernels.reduce import sum_rows

ACCESSES = 2  # of a thread to a row
SINGLE = 4  # the same where an access is one element
VALUES = 8  # elements that a thread holds of a row that does not fit
LONG = 512  # threads for it
STAGES = 3  # rows that a block has in shared memory, if there is room
RESERVED = 2048  # bytes of that for its sums, and what the driver keeps
THREADS = 512  # of a multiprocessor: each has room for its sums in registers
MORE_THREADS = 768  # where those are few, and rows so short that waiting for sums counts
SLICES = 64  # of the rows, for the sums of those


@functools.cache
def make_norm_grad(dtype, wide, W, T, V, centred, scaled, stages, blocks):
    """For rows of T threads, V accesses of W elements each. centred: layer norm, else RMS norm;
    scaled: with weight; stages: see _stages.py, 0 for rows on no boundary; blocks: how many a
    multiprocessor shall have room for."""
    R, COUNT, WARPS, QUADS = rows_a_block(T), V * W, max(T // 32, 1), W // 4
    read, write = pieces(dtype, wide, T, V)
    totals, stage_wait, element = over_row_together(T, 2), WAITS.get(stages), ELEMENT[dtype]
    fetch, collect = staged(dtype, T, V)

    @cuda.jit(device=True)
    def leave(values, sums, start, columns):
        """A thread's sums into ``sums`` from ``start`` on."""
        for v in cuda.unroll(V):
            column = (v * T + cuda.threadIdx.x) * W
            if column < columns:
                if QUADS == 0:
                    sums[start + column] = values[v]
                for q in cuda.unroll(QUADS):
                    i, at = v * W + 4 * q, start + column + 4 * q
                    ptx.store4(sums, at, values[i], values[i + 1], values[i + 2], values[i + 3])

    @cuda.jit(fastmath=False, launch_bounds=(T * R, blocks))
    def norm_grad(x, g, weight, mean, rstd, dx, sums, rows, columns):
        """x, g, dx (rows * columns); weight (columns); mean, rstd (rows) float32; sums (2 *
        groups * columns) float32, dweight's groups first."""
        between = cuda.shared.array(4 * WARPS, np.float32)
        xs, gs = cuda.local.array(COUNT, np.float32), cuda.local.array(COUNT, np.float32)
        dweight, dbias = cuda.local.array(COUNT, np.float32), cuda.local.array(COUNT, np.float32)
        scale, found = cuda.local.array(COUNT, np.float32), cuda.local.array(2, np.float32)
        for i in cuda.unroll(COUNT):
            dweight[i], dbias[i] = ZERO, ZERO
        if scaled:
            read(weight, 0, 0, columns, scale, ZERO)
        share = ONE / np.float32(columns)
        stride, y, turn, stage = cuda.gridDim.x * R, cuda.threadIdx.y, 0, 0
        row = cuda.blockIdx.x * R + y
        next_r = rstd[row] if row < rows else ZERO
        next_m = mean[row] if centred and row < rows else ZERO
        if stages:
            slots = cuda.shared.array(0, element)  # (stages, x or g, R) places
            for ahead in cuda.unroll(stages - 1):
                fetch(x, row + ahead * stride, rows, columns, slots, 2 * ahead * R + y)
                fetch(g, row + ahead * stride, rows, columns, slots, (2 * ahead + 1) * R + y)
                ptx.cp_async_commit()
        for first in range(cuda.blockIdx.x * R, rows, stride):
            row = first + y
            stop = columns if row < rows else 0
            if stages:
                later = stages - 1 if stage == 0 else stage - 1
                coming = row + (stages - 1) * stride
                fetch(x, coming, rows, columns, slots, 2 * later * R + y)
                fetch(g, coming, rows, columns, slots, (2 * later + 1) * R + y)
                ptx.cp_async_commit()
                stage_wait()
                collect(slots, 2 * stage * R + y, xs)
                collect(slots, (2 * stage + 1) * R + y, gs)
                stage = 0 if stage == stages - 1 else stage + 1
            else:
                read(x, row * columns, 0, stop, xs, ZERO)
                read(g, row * columns, 0, stop, gs, ZERO)
            r, m = next_r, next_m
            next_r = rstd[row + stride] if row + stride < rows else ZERO
            next_m = mean[row + stride] if centred and row + stride < rows else ZERO
            found[0], found[1] = ZERO, ZERO
            for i in cuda.unroll(COUNT):
                xs[i] = (xs[i] - m) * r
                dweight[i] += gs[i] * xs[i]
                dbias[i] += gs[i]
                if scaled:
                    gs[i] *= scale[i]
                found[0] += gs[i]
                found[1] += gs[i] * xs[i]
            totals(found, between, turn)
            turn = 2 * WARPS - turn
            mean_h, mean_hy = found[0] * share if centred else ZERO, found[1] * share
            for i in cuda.unroll(COUNT):
                xs[i] = r * (gs[i] - mean_h - xs[i] * mean_hy)
            write(dx, row * columns, 0, stop, xs)
        if stages:
            ptx.cp_async_wait0()
        group, groups = cuda.blockIdx.x * R + y, stride
        leave(dweight, sums, group * columns, columns)
        if centred:
            leave(dbias, sums, (groups + group) * columns, columns)

    return norm_grad


@functools.cache
def make_norm_grad_long(dtype, wide, W, T, centred, scaled):
    """dx for rows that do not fit in the registers of a block, read twice."""
    WARPS, STEP = T // 32, T * VALUES
    read, write = pieces(dtype, wide, T, VALUES // W)
    totals = over_row_together(T, 2)

    @cuda.jit(device=True)
    def take(x, g, weight, start, column, columns, m, r, xs, gs, scale):
        """y into xs and h into gs."""
        read(x, start, column, columns, xs, m)
        read(g, start, column, columns, gs, ZERO)
        if scaled:
            read(weight, 0, column, columns, scale, ZERO)
        for i in cuda.unroll(VALUES):
            xs[i] = (xs[i] - m) * r
            if scaled:
                gs[i] *= scale[i]

    @cuda.jit(fastmath=False, launch_bounds=T)
    def norm_grad_long(x, g, weight, mean, rstd, dx, rows, columns):
        """x, g, dx (rows * columns); weight (columns); mean, rstd (rows) float32."""
        between = cuda.shared.array(4 * WARPS, np.float32)
        xs, gs = cuda.local.array(VALUES, np.float32), cuda.local.array(VALUES, np.float32)
        scale, found = cuda.local.array(VALUES, np.float32), cuda.local.array(2, np.float32)
        share, turn = ONE / np.float32(columns), 0
        for row in range(cuda.blockIdx.x, rows, cuda.gridDim.x):
            start, r = row * columns, rstd[row]
            m = mean[row] if centred else ZERO
            found[0], found[1] = ZERO, ZERO
            for column in range(0, columns, STEP):
                take(x, g, weight, start, column, columns, m, r, xs, gs, scale)
                for i in cuda.unroll(VALUES):
                    found[0] += gs[i]
                    found[1] += gs[i] * xs[i]
            totals(found, between, turn)
            turn = 2 * WARPS - turn
            mean_h, mean_hy = found[0] * share if centred else ZERO, found[1] * share
            for column in range(0, columns, STEP):
                take(x, g, weight, start, column, columns, m, r, xs, gs, scale)
                for i in cuda.unroll(VALUES):
                    xs[i] = r * (gs[i] - mean_h - xs[i] * mean_hy)
                write(dx, start, column, columns, xs)

    return norm_grad_long


@cuda.jit(fastmath=False, launch_bounds=256)
def norm_columns(x, g, mean, rstd, sums, rows, columns, centred):
    """The sums for weight and bias of long rows: a thread goes down one column, by every
    gridDim.y-th row. x, g (rows * columns); sums (2 * slices * columns) float32."""
    column = cuda.grid(1)
    if column < columns:
        dweight, dbias = ZERO, ZERO
        for row in range(cuda.blockIdx.y, rows, cuda.gridDim.y):
            m = mean[row] if centred else ZERO
            one = np.float32(g[row * columns + column])
            dweight += one * ((np.float32(x[row * columns + column]) - m) * rstd[row])
            dbias += one
        sums[cuda.blockIdx.y * columns + column] = dweight
        if centred:
            sums[(cuda.gridDim.y + cuda.blockIdx.y) * columns + column] = dbias


def parameters_of(x, **parameters):
    """Each parameter (D,) flat, or None. Raises TypeError and ValueError."""
    xp = namespace(x=x, **parameters)
    for name, p in parameters.items():
        if p is not None and (p.dtype != x.dtype or p.shape != x.shape[-1:]):
            raise ValueError(
                f"{name} is {p.dtype.name} {p.shape}; expected {x.dtype.name} {x.shape[-1:]}, the "
                f"last axis of x {x.shape}"
            )
    return [None if p is None else flattened(xp, name, p) for name, p in parameters.items()]


def norm_backward(x, g, weight, mean, rstd):
    """(dx, dweight, dbias) for x and g (..., D); mean is None for RMS norm, which has no dbias.
    Raises TypeError and ValueError."""
    rows, columns, (flat, flat_g) = as_rows(x=x, g=g)
    (weight,) = parameters_of(x, weight=weight)
    namespace(x=x, mean=mean, rstd=rstd)
    for name, saved in (("mean", mean), ("rstd", rstd)):
        if saved is not None or name == "rstd":
            check(name, saved, ("float32",), shape=(rows,))
    dx, centred, scaled = empty(x, x.shape), mean is not None, weight is not None
    if not x.size:
        nothing = empty(x, (2, columns))
        nothing[:] = 0
        return dx, nothing[0], nothing[1] if centred else None
    weight = weight if scaled else flat
    wide, W = access(columns, flat, flat_g, weight)
    mean, given = mean if centred else rstd, (x.dtype.name, wide, W)
    arguments = flat, flat_g, weight, mean, rstd, dx.reshape(-1)
    spread = plan(columns, W, ACCESSES * W if wide else SINGLE)
    if spread is None:
        slices = min(rows, SLICES)
        sums = empty(x, (1 + centred, slices, columns), "float32")
        kernel = make_norm_grad_long(*given, LONG, centred, scaled)
        kernel[min(rows, 2 * multiprocessors(x)), LONG](*arguments, rows, columns)
        columns_kernel = norm_columns[(ceil_div(columns, 256), slices), 256]
        columns_kernel(flat, flat_g, mean, rstd, sums.reshape(-1), rows, columns, int(centred))
    else:
        (T, V), R, stages = spread, rows_a_block(spread[0]), STAGES if wide else 0
        place = 2 * R * T * V * W * x.itemsize  # bytes of a stage
        stages = 2 if stages * place > shared_bytes(x) - RESERVED else stages
        threads = MORE_THREADS if V == 1 and x.itemsize == 2 else THREADS
        each = max(threads // (T * R), 1)
        blocks = min(ceil_div(rows, R), multiprocessors(x) * each)
        sums = empty(x, (1 + centred, blocks * R, columns), "float32")
        kernel = make_norm_grad(*given, T, V, centred, scaled, stages, each)
        kernel[blocks, (T, R), None, stages * place](*arguments, sums.reshape(-1), rows, columns)
    found = sum_rows(sums, x.dtype)
    return dx, found[0], found[1] if centred else None
