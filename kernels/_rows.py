"""What the kernels that go over rows share: reading and writing by 16 bytes, sums over the threads
of a row, and how many threads that is.

A row is held in the registers of T threads, V accesses of W elements each: thread t holds elements
(v T + t) W to (v T + t) W + W - 1 for each v. Neighbouring threads so touch neighbouring memory,
and V independent loads are under way before the first is used. Up to a warp (T <= 32) a block has
several rows and a sum needs shuffles alone; a longer row has a block to itself.
"""

import functools
import math

import ml_dtypes
import numpy as np

from kernels import cuda, ptx
from kernels._host import address, aligned, ceil_div, namespace, present

ELEMENT = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
FLOATS = tuple(ELEMENT)
BYTES = 16  # of one access
WARP, MOST_THREADS = 32, 1024
MOST_ACCESSES = 8  # of a thread to a row: each may have an address in registers
SMALL_BLOCK = 128  # threads of a block whose rows are a warp's or less
ALL = 0xFFFFFFFF
LOWEST, ZERO, ONE = np.float32(-np.inf), np.float32(0), np.float32(1)


@functools.cache
def vectors(dtype, wide, once=True):
    """(W, read, write) for arrays of a dtype: ``read(x, index, values, at)`` puts W elements of x
    into the float32 array ``values``, and write is its inverse.

    wide: 16 bytes at a time, else one element. once: what is read is read once, and leaves the
    first-level cache to what is not.
    """
    if not wide:
        return 1, _read_one, _write_one
    if dtype == "float32":
        return 4, *_moves_of_four(ptx.load4_once if once else ptx.load4, ptx.store4)
    load = ptx.load_words_once if once else ptx.load_words
    return 8, *_moves_of_eight(dtype, load, ptx.store_words)


@functools.cache
def shared_vectors(dtype, wide):
    """(read, write) as those of ``vectors``, for arrays of a dtype in shared memory."""
    if not wide:
        return _read_one, _write_one
    if dtype == "float32":
        return _moves_of_four(ptx.load4_shared, ptx.store4_shared)
    return _moves_of_eight(dtype, ptx.load_words_shared, ptx.store_words_shared)


@functools.cache
def _moves_of_four(load, store):
    """(read, write) of four float32."""

    @cuda.jit(device=True)
    def read(x, index, values, at):
        a, b, c, d = load(x, index)
        values[at], values[at + 1], values[at + 2], values[at + 3] = a, b, c, d

    @cuda.jit(device=True)
    def write(x, index, values, at):
        store(x, index, values[at], values[at + 1], values[at + 2], values[at + 3])

    return read, write


@functools.cache
def _moves_of_eight(dtype, load, store):
    """(read, write) of eight 16-bit numbers."""
    unpack = ptx.unpack_f16 if dtype == "float16" else ptx.unpack_bf16
    pack = ptx.pack_f16 if dtype == "float16" else ptx.pack_bf16

    @cuda.jit(device=True)
    def read(x, index, values, at):
        a, b, c, d = load(x, index)
        values[at], values[at + 1] = unpack(a)
        values[at + 2], values[at + 3] = unpack(b)
        values[at + 4], values[at + 5] = unpack(c)
        values[at + 6], values[at + 7] = unpack(d)

    @cuda.jit(device=True)
    def write(x, index, values, at):
        a = pack(values[at], values[at + 1])
        b = pack(values[at + 2], values[at + 3])
        c = pack(values[at + 4], values[at + 5])
        d = pack(values[at + 6], values[at + 7])
        store(x, index, a, b, c, d)

    return read, write


@cuda.jit(device=True)
def _read_one(x, index, values, at):
    values[at] = np.float32(x[index])


@cuda.jit(device=True)
def _write_one(x, index, values, at):
    x[index] = values[at]


@functools.cache
def pieces(dtype, wide, T, V):
    """(read, write) for the V accesses of each of the T threads of a row.

    ``read(x, start, first, stop, values, fill)``: elements first, first + 1 … of the row that
    begins at x[start] into ``values``, V W numbers a thread; ``fill`` for those from ``stop`` on.
    ``write`` is its inverse, without fill.
    """
    W, read_vector, write_vector = vectors(dtype, wide)

    @cuda.jit(device=True)
    def read(x, start, first, stop, values, fill):
        for i in cuda.unroll(V * W):
            values[i] = fill
        for v in cuda.unroll(V):
            column = first + (v * T + cuda.threadIdx.x) * W
            if column < stop:
                read_vector(x, start + column, values, v * W)

    @cuda.jit(device=True)
    def write(x, start, first, stop, values):
        for v in cuda.unroll(V):
            column = first + (v * T + cuda.threadIdx.x) * W
            if column < stop:
                write_vector(x, start + column, values, v * W)

    return read, write


@functools.cache
def shared_pieces(dtype, wide, T, V):
    """(keep, recall) for arrays in shared memory, where element c of a row lies at c:
    ``keep(store, first, values)`` and ``recall(store, first, values)``."""
    W = BYTES // np.dtype(ELEMENT[dtype]).itemsize if wide else 1
    read_slot, write_slot = shared_vectors(dtype, wide)

    @cuda.jit(device=True)
    def keep(store, first, values):
        for v in cuda.unroll(V):
            write_slot(store, first + (v * T + cuda.threadIdx.x) * W, values, v * W)

    @cuda.jit(device=True)
    def recall(store, first, values):
        for v in cuda.unroll(V):
            read_slot(store, first + (v * T + cuda.threadIdx.x) * W, values, v * W)

    return keep, recall


@cuda.jit(device=True)
def add(x, y):
    return x + y


@cuda.jit(device=True)
def higher(x, y):
    return max(x, y)


@functools.cache
def over_row(T, combine=add):
    """``total(x, between, at)``: the sum (or what ``combine`` makes) of x over the T threads of a
    row, for all of them, always in the same order.

    Within a warp each thread exchanges with the one whose number differs in one bit: after log2 T
    steps all have everything. Several warps leave their sums in shared memory, in ``between`` from
    ``at`` on, T / 32 numbers, which may be written again when all threads have passed one more
    barrier.
    """
    INSIDE = min(T, WARP).bit_length() - 1
    WARPS = max(T // WARP, 1)
    ACROSS = WARPS.bit_length() - 1

    @cuda.jit(device=True)
    def total(x, between, at):
        for i in cuda.unroll(INSIDE):
            x = combine(x, cuda.shfl_xor_sync(ALL, x, 1 << i))
        if WARPS > 1:
            lane = cuda.threadIdx.x % WARP
            if lane == 0:
                between[at + cuda.threadIdx.x // WARP] = x
            cuda.syncthreads()
            x = between[at + lane % WARPS]
            for i in cuda.unroll(ACROSS):
                x = combine(x, cuda.shfl_xor_sync(ALL, x, 1 << i))
        return x

    return total


@functools.cache
def over_row_together(T, N):
    """``totals(sums, between, at)``: what total does, for N numbers in an array at once and for the
    waiting of one. ``between`` has room for N T / 32 numbers from ``at`` on."""
    INSIDE = min(T, WARP).bit_length() - 1
    WARPS = max(T // WARP, 1)
    ACROSS = WARPS.bit_length() - 1

    @cuda.jit(device=True)
    def totals(sums, between, at):
        for i in cuda.unroll(INSIDE):
            for n in cuda.unroll(N):
                sums[n] += cuda.shfl_xor_sync(ALL, sums[n], 1 << i)
        if WARPS > 1:
            lane, warp = cuda.threadIdx.x % WARP, cuda.threadIdx.x // WARP
            if lane == 0:
                for n in cuda.unroll(N):
                    between[at + n * WARPS + warp] = sums[n]
            cuda.syncthreads()
            for n in cuda.unroll(N):
                sums[n] = between[at + n * WARPS + lane % WARPS]
            for i in cuda.unroll(ACROSS):
                for n in cuda.unroll(N):
                    sums[n] += cuda.shfl_xor_sync(ALL, sums[n], 1 << i)

    return totals


def power_of_two(n):
    """The least power of two that is not below n."""
    return 1 << max(n - 1, 0).bit_length()


def plan(columns, W, values=32):
    """(T, V): how a row of so many columns is spread, W to an access and at most ``values`` in the
    registers of a thread; None if it does not fit in those of a block."""
    count, most = ceil_div(columns, W), min(max(values // W, 1), MOST_ACCESSES)
    if count > MOST_THREADS * most:
        return None
    if count <= WARP * most:
        T = min(power_of_two(count), WARP)
    else:
        T = min(max(power_of_two(ceil_div(count, min(most, 4))), SMALL_BLOCK), MOST_THREADS)
    return T, power_of_two(ceil_div(count, T))


def rows_a_block(T):
    """How many rows a block of T threads a row has."""
    return max(SMALL_BLOCK // T, 1)


def launch_shape(rows, spread):
    """(grid, block) for rows that are spread as ``plan`` says, each block having some."""
    T, _ = spread
    return ceil_div(rows, rows_a_block(T)), (T, rows_a_block(T))


def access(columns, *arrays):
    """(wide, W): whether each row of arrays (rows, columns) begins on a boundary of 16 bytes, and
    how many elements an access has then."""
    wide = all(
        columns * array.itemsize % BYTES == 0 and address(array) % BYTES == 0 for array in arrays
    )
    return wide, BYTES // arrays[0].itemsize if wide else 1


def as_rows(**arrays):
    """(rows, columns, arrays), the arrays (..., D) being of one shape and dtype and returned flat
    and C-contiguous: themselves or copies. Raises TypeError and ValueError, naming the argument."""
    xp = namespace(**arrays)
    present(**arrays)
    (first, like), *others = arrays.items()
    if like.dtype.name not in FLOATS:
        raise TypeError(f"{first} is {like.dtype.name}; expected {' or '.join(FLOATS)}")
    if like.ndim == 0:
        raise ValueError(f"{first} has no axis; expected (..., D)")
    for name, array in others:
        if array.dtype != like.dtype:
            raise TypeError(f"{name} is {array.dtype.name}; expected {like.dtype.name} as {first}")
        if array.shape != like.shape:
            raise ValueError(f"{name} has shape {array.shape}; expected {like.shape} as {first}")
    flat = [flattened(xp, name, array) for name, array in arrays.items()]
    return math.prod(like.shape[:-1]), like.shape[-1], flat


def flattened(xp, name, array):
    """The array, or a C-contiguous copy, with one axis."""
    flat = (array if array.flags.c_contiguous else xp.ascontiguousarray(array)).reshape(-1)
    aligned(name, flat)
    return flat
