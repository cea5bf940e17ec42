"""C = A B, from one thread an output to the speed of cuBLAS: a ladder for float32.

A is (M, K), B (K, N), C (M, N). The work is 2 M N K operations; the inputs are M K + K N numbers.
All rungs but the first two are about one thing: how often a number that has been brought closer
(from global to shared memory, from shared memory to a register) is used before it is dropped.

Where the time goes, on an H100: a multiprocessor starts 128 multiply-adds in a cycle, four warps
of them, and takes 128 bytes from shared memory. A warp that wants one word from there for each
multiply-add is therefore held to a quarter of the speed; and since each instruction takes a
multiply-add's place in the queue, in the end what counts is the share of instructions that are not
multiply-adds.

``matmul`` is the function to call; LADDER has the rungs, the last of which is in warp_tile.py;
tensor cores are in matmul_tensor.py.
"""

import functools
from typing import NamedTuple

import numpy as np

from kernels import cuda, ptx
from kernels._host import address, ceil_div, check, empty, multiprocessors, namespace, number
from kernels._ladder import Rung, of_whole_tiles
from kernels.warp_tile import LARGE, SMALL, Side, finisher, warp_tile  # noqa: F401

F32, U32, U64 = np.float32, np.uint32, np.uint64
MOST = 2**31  # rows, columns and steps are under this
FLOATS = ("float32", "float16", "bfloat16")
ACTIVATIONS = (None, "relu", "gelu", "silu")


@cuda.jit
def naive(a, b, c):
    """One thread for one output, the threads of a warp below each other.

    For one step of k a warp reads 32 rows of A, 32 sectors of which it uses one word each.
    """
    row, col = cuda.grid(2)
    M, N, K = c.shape[0], c.shape[1], a.shape[1]
    if row < M and col < N:
        total = 0.0
        for k in range(K):
            total += F32(a[row, k]) * F32(b[k, col])
        c[row, col] = total


@cuda.jit
def coalesced(a, b, c):
    """The threads of a warp beside each other: rows and columns change places, nothing else.

    Now the warp reads one word of A, the same for all, and 32 neighbours of B: 5 sectors in place
    of 33. Predicted: 6 times faster.
    """
    col, row = cuda.grid(2)
    M, N, K = c.shape[0], c.shape[1], a.shape[1]
    if row < M and col < N:
        total = 0.0
        for k in range(K):
            total += F32(a[row, k]) * F32(b[k, col])
        c[row, col] = total


@functools.cache
def shared_tile(T=32):
    """A block of T x T threads brings tiles of A and B to shared memory, and each number there
    serves T threads.

    Global memory is asked T times less. But each multiply-add still takes two words, now from
    shared memory, which serves one warp a cycle: an eighth of the arithmetic at best. Predicted:
    2 times faster, the caches having done a part of it before.
    """

    @cuda.jit
    def tile_kernel(a, b, c):
        a_tile = cuda.shared.array((T, T), F32)
        b_tile = cuda.shared.array((T, T), F32)
        x, y = cuda.threadIdx.x, cuda.threadIdx.y
        col, row = cuda.grid(2)
        M, N, K = c.shape[0], c.shape[1], a.shape[1]
        total = 0.0
        for k0 in range(0, K, T):
            a_tile[y, x] = F32(a[row, k0 + x]) if row < M and k0 + x < K else 0.0
            b_tile[y, x] = F32(b[k0 + y, col]) if k0 + y < K and col < N else 0.0
            cuda.syncthreads()
            for k in range(T):
                total += a_tile[y, k] * b_tile[k, x]
            cuda.syncthreads()
        if row < M and col < N:
            c[row, col] = total

    return tile_kernel


@functools.cache
def register_column(BM=64, BN=64, BK=32, TM=8):
    """A thread makes TM outputs below each other, and each word of B that it takes from shared
    memory serves all of them.

    Words from shared memory for a multiply-add: 1 + 1/TM in place of 2. Predicted: 1.8 times. The
    totals need registers, which are shared by all threads of a multiprocessor: without the second
    of the launch bounds (two blocks must fit) it has room for one, whose warps all wait at its
    barriers together.
    """
    THREADS = BM * BN // TM

    @cuda.jit(launch_bounds=(THREADS, 2))
    def column_kernel(a, b, c):
        a_tile = cuda.shared.array((BM, BK), F32)
        b_tile = cuda.shared.array((BK, BN), F32)
        t = cuda.threadIdx.x
        x, y = t % BN, t // BN * TM
        row0, col0 = cuda.blockIdx.y * BM, cuda.blockIdx.x * BN
        M, N, K = c.shape[0], c.shape[1], a.shape[1]
        total = cuda.local.array(TM, F32)
        for i in cuda.unroll(TM):
            total[i] = 0.0
        for k0 in range(0, K, BK):
            for s in cuda.unroll(BM * BK // THREADS):
                i, k = (t + s * THREADS) // BK, t % BK
                a_tile[i, k] = F32(a[row0 + i, k0 + k]) if row0 + i < M and k0 + k < K else 0.0
            for s in cuda.unroll(BK * BN // THREADS):
                k, j = (t + s * THREADS) // BN, t % BN
                b_tile[k, j] = F32(b[k0 + k, col0 + j]) if k0 + k < K and col0 + j < N else 0.0
            cuda.syncthreads()
            for k in range(BK):
                right = b_tile[k, x]
                for i in cuda.unroll(TM):
                    total[i] += a_tile[y + i, k] * right
            cuda.syncthreads()
        for i in cuda.unroll(TM):
            if row0 + y + i < M and col0 + x < N:
                c[row0 + y + i, col0 + x] = total[i]

    return column_kernel


@functools.cache
def register_tile(BM=128, BN=128, BK=8, TM=8, TN=8):
    """A thread makes TM x TN outputs from TM words of A and TN of B.

    Words for a multiply-add: 1/TM + 1/TN, a quarter in place of 9/8. Its rows and columns lie
    BM/TM and BN/TN apart, so that at each load the threads of a warp want neighbours: no bank is
    asked twice. Predicted: 2.5 times, the waiting for global memory at each tile being next.
    """
    DOWN, RIGHT = BM // TM, BN // TN  # threads of a block
    THREADS = DOWN * RIGHT

    @cuda.jit(launch_bounds=THREADS)
    def register_kernel(a, b, c):
        a_tile = cuda.shared.array((BM, BK), F32)
        b_tile = cuda.shared.array((BK, BN), F32)
        t = cuda.threadIdx.x
        x, y = t % RIGHT, t // RIGHT
        row0, col0 = cuda.blockIdx.y * BM, cuda.blockIdx.x * BN
        M, N, K = c.shape[0], c.shape[1], a.shape[1]
        left = cuda.local.array(TM, F32)
        total = cuda.local.array((TM, TN), F32)
        for i in range(TM):
            for j in range(TN):
                total[i, j] = 0.0
        for k0 in range(0, K, BK):
            for s in cuda.unroll(BM * BK // THREADS):
                i, k = (t + s * THREADS) // BK, t % BK
                a_tile[i, k] = F32(a[row0 + i, k0 + k]) if row0 + i < M and k0 + k < K else 0.0
            for s in cuda.unroll(BK * BN // THREADS):
                k, j = (t + s * THREADS) // BN, t % BN
                b_tile[k, j] = F32(b[k0 + k, col0 + j]) if k0 + k < K and col0 + j < N else 0.0
            cuda.syncthreads()
            for k in range(BK):
                for i in range(TM):
                    left[i] = a_tile[y + i * DOWN, k]
                for j in range(TN):
                    right = b_tile[k, x + j * RIGHT]
                    for i in range(TM):
                        total[i, j] += left[i] * right
            cuda.syncthreads()
        for i in range(TM):
            for j in range(TN):
                if row0 + y + i * DOWN < M and col0 + x + j * RIGHT < N:
                    c[row0 + y + i * DOWN, col0 + x + j * RIGHT] = total[i, j]

    return register_kernel


@cuda.jit(device=True)
def four_global(array, start, into, first):
    """Four numbers from global memory to a local array, in one load."""
    four = ptx.load4(array, start)
    for e in cuda.unroll(4):
        into[first + e] = four[e]


@cuda.jit(device=True)
def four_shared(array, start, into, first):
    """The same from shared memory."""
    four = ptx.load4_shared(array, start)
    for e in cuda.unroll(4):
        into[first + e] = four[e]


@cuda.jit(device=True)
def four_out(array, start, totals, i, j):
    """Four of a row of totals to global memory, in one store."""
    ptx.store4(array, start, totals[i, j], totals[i, j + 1], totals[i, j + 2], totals[i, j + 3])


@functools.cache
def double_buffered(BM=128, BN=128, BK=8):
    """Four words in each load, and the next tile on its way while this one is used.

    The 8 x 8 outputs of a thread are 2 x 2 pieces of 4 x 4, so that each load and store moves 16
    bytes: 4 instructions for 64 multiply-adds in place of 16. For A that means a tile that is
    turned, (BK, BM), which the store into shared memory does. There are two tiles: while one is
    read, the numbers of the next come from global memory into registers, and then go to the
    other; one barrier a tile. Predicted: 2.5 times. Sizes must be multiples of the tile's.
    """
    RIGHT = BN // 8
    THREADS = BM * BN // 64
    PITCH = BM + 4  # a row of the turned tile: the four stores of a warp meet no bank twice
    A_COPIES, B_COPIES = BM * BK // 4 // THREADS, BK * BN // 4 // THREADS
    A_STEP, B_STEP = THREADS // (BK // 4), THREADS // (BN // 4)

    @cuda.jit(launch_bounds=THREADS)
    def buffered_kernel(a, b, c):
        a_tiles = cuda.shared.array((2, BK, PITCH), F32, alignment=16)
        b_tiles = cuda.shared.array((2, BK, BN), F32, alignment=16)
        t = U32(cuda.threadIdx.x)
        x, y = U32(t % U32(RIGHT) * U32(4)), U32(t // U32(RIGHT) * U32(4))
        a_row, a_k = U32(t // U32(BK // 4)), U32(t % U32(BK // 4) * U32(4))
        b_k, b_col = U32(t // U32(BN // 4)), U32(t % U32(BN // 4) * U32(4))
        row0, col0 = cuda.blockIdx.y * BM, cuda.blockIdx.x * BN
        N, K = b.shape[1], a.shape[1]
        a_next = cuda.local.array(4 * A_COPIES, F32)
        b_next = cuda.local.array(4 * B_COPIES, F32)
        left = cuda.local.array(8, F32)
        right = cuda.local.array(8, F32)
        total = cuda.local.array((8, 8), F32)
        for i in range(8):
            for j in range(8):
                total[i, j] = 0.0
        to = U32(0)  # the tile that is filled next
        for k0 in range(0, K + BK, BK):
            if k0 < K:
                for s in cuda.unroll(A_COPIES):
                    four_global(a, (row0 + a_row + s * A_STEP) * K + k0 + a_k, a_next, 4 * s)
                for s in cuda.unroll(B_COPIES):
                    four_global(b, (k0 + b_k + s * B_STEP) * N + col0 + b_col, b_next, 4 * s)
            if k0 > 0:
                a_from = U32(U32(U32(1) - to) * U32(BK * PITCH) + y)
                b_from = U32(U32(U32(1) - to) * U32(BK * BN) + x)
                for k in cuda.unroll(BK):
                    for p in cuda.unroll(2):
                        four_shared(a_tiles, a_from + U32(k * PITCH + p * (BM // 2)), left, 4 * p)
                        four_shared(b_tiles, b_from + U32(k * BN + p * (BN // 2)), right, 4 * p)
                    for i in range(8):
                        for j in range(8):
                            total[i, j] += left[i] * right[j]
            if k0 < K:
                for i in cuda.unroll(4 * A_COPIES):
                    a_tiles[to, a_k + U32(i % 4), a_row + U32(i // 4 * A_STEP)] = a_next[i]
                for i in cuda.unroll(4 * B_COPIES):
                    b_tiles[to, b_k + U32(i // 4 * B_STEP), b_col + U32(i % 4)] = b_next[i]
            cuda.syncthreads()
            to = U32(U32(1) - to)
        for i in range(8):
            start = (row0 + y + i // 4 * (BM // 2) + i % 4) * N + col0 + x
            four_out(c, start, total, i, 0)
            four_out(c, start + BN // 2, total, i, 4)

    return buffered_kernel


# The host function


class Product(NamedTuple):
    """What matmul was asked for: C = A B with A (M, K) and B (K, N), ``batches`` times; strides are
    the numbers from one matrix to the next, 0 for an operand that all batches share."""

    batches: int
    M: int
    N: int
    K: int
    a_stride: int
    b_stride: int
    c_stride: int
    shape: tuple  # of the output


def product(a, b, transpose="NN", beta=0.0, c=None, bias=None, activation=None, out=None):
    """Check the arguments of matmul; returns a Product. Raises TypeError or ValueError."""
    namespace(a=a, b=b, c=c, bias=bias, out=out)
    check("a", a, FLOATS)
    dtype = (a.dtype.name,)
    for name, array in (("b", b), ("c", c), ("bias", bias), ("out", out)):
        if array is not None or name == "b":
            check(name, array, dtype)
    if not isinstance(transpose, str) or transpose not in ("NN", "NT", "TN", "TT"):
        raise ValueError(f"transpose is {transpose!r}; expected 'NN', 'NT', 'TN' or 'TT'")
    if not isinstance(activation, str | None) or activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}; expected one of {ACTIVATIONS}")
    if min(a.ndim, b.ndim) < 2:
        raise ValueError(
            f"a has shape {a.shape} and b {b.shape}; expected matrices, or stacks of them"
        )
    M, K = a.shape[-2:] if transpose[0] == "N" else a.shape[:-3:-1]
    rows, N = b.shape[-2:] if transpose[1] == "N" else b.shape[:-3:-1]
    if rows != K:
        raise ValueError(
            f"{transpose}: a of shape {a.shape} has K = {K}, b of shape {b.shape} has K = {rows}"
        )
    if max(M, N, K) >= MOST:
        raise ValueError(f"M, N, K = {M}, {N}, {K}; each must be under {MOST:,}")
    batch, a_stride, b_stride = _batches(a.shape[:-2], b.shape[:-2], M * K, K * N)
    shape = (*batch, M, N)
    c_stride = M * N
    if beta and c is None:
        raise ValueError(f"beta is {beta}, but there is no c")
    if c is not None:
        if c.shape not in (shape, (M, N)):
            raise ValueError(f"c has shape {c.shape}; expected {shape}")
        c_stride = M * N if c.shape == shape else 0
    if bias is not None:
        check("bias", bias, dtype, shape=(N,))
    if out is not None:
        check("out", out, dtype, shape=shape)
        apart(out, c, a=a, b=b, bias=bias)
    return Product(int(np.prod(batch)), M, N, K, a_stride, b_stride, c_stride, shape)


def apart(out, c, **arrays):
    """That out can be written to and shares no memory with the arrays, nor with c unless it is c.
    Raises ValueError."""
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise ValueError("out cannot be written to")
    for name, array in arrays.items():
        if array is not None and _overlap(out, array):
            raise ValueError(f"out shares memory with {name}")
    same = c is not None and (c.shape, c.dtype, address(c)) == (out.shape, out.dtype, address(out))
    if c is not None and not same and _overlap(out, c):
        raise ValueError("out shares memory with c, but is not c")


def _overlap(x, y):
    """Whether two C-contiguous arrays share memory."""
    first, second = address(x), address(y)
    return first < second + y.nbytes and second < first + x.nbytes


def _batches(a, b, a_size, b_size):
    """(the batch axes of the output, strides of a and b) from the batch axes of both."""
    if a == b:
        return a, a_size, b_size
    if np.prod(b) == 1 and len(b) <= len(a):
        return a, a_size, 0
    if np.prod(a) == 1 and len(a) <= len(b):
        return b, 0, b_size
    raise ValueError(
        f"the batch axes of a are {a}, of b {b}; expected the same, or none in one of them"
    )


def matmul(
    a, b, *, transpose="NN", alpha=1.0, beta=0.0, c=None, bias=None, activation=None, out=None
):  # fmt: skip
    """activation(alpha A B + beta C + bias), for any sizes.

    a (…, M, K), or (…, K, M) if ``transpose`` begins with T; b (…, K, N), or (…, N, K) if it ends
    with T. Their batch axes are the same, or one of them has none (or only axes of 1). c (…, M, N),
    or (M, N) for all batches, is added ``beta`` times; bias (N,) to each row; activation is None,
    "relu", "gelu" (the tanh form) or "silu". Writes to ``out`` (…, M, N), which may be c itself,
    or to a new array, and returns it.

    float32 is computed by ``warp_tile``, float16 and bfloat16 by matmul_tensor.py, sums in float32.
    All arrays have one dtype and are C-contiguous, of NumPy (the simulator) or CuPy. Raises
    TypeError or ValueError for any that are not, or whose shapes do not fit.

    >>> a, b = np.ones((3, 5), np.float32), np.ones((5, 2), np.float32)
    >>> matmul(a, b, activation="relu").tolist()
    [[5.0, 5.0], [5.0, 5.0], [5.0, 5.0]]
    """
    namespace(a=a)
    if a.dtype.name in ("float16", "bfloat16"):
        from kernels import matmul_tensor

        return matmul_tensor.matmul(
            a, b, transpose=transpose, alpha=alpha, beta=beta, c=c, bias=bias,
            activation=activation, out=out,
        )  # fmt: skip
    alpha, beta = number("alpha", alpha), number("beta", beta)
    sizes = product(a, b, transpose, beta, c, bias, activation, out)
    out = empty(a, sizes.shape) if out is None else out
    if out.size:
        _launch(sizes, transpose, a, b, alpha, beta, c, bias, activation, out)
    return out


def _launch(sizes, transpose, a, b, alpha, beta, c, bias, activation, out, tile=None):
    """Choose the kernel and launch it."""
    batches, M, N, K, a_stride, b_stride, c_stride, _ = sizes
    below = b_stride == 0 and transpose[0] == "N" and (not beta or c_stride)
    if below and batches * M < MOST:
        batches, M = 1, batches * M  # the rows of all batches stand below each other
    enough = multiprocessors(a)
    if tile is None:
        tile = LARGE if batches * ceil_div(M, LARGE.M) * ceil_div(N, LARGE.N) >= enough else SMALL
    a_side = Side(True, 1) if transpose[0] == "N" else Side(False, 1 if M % 4 else 4)
    b_side = Side(True, 1) if transpose[1] == "T" else Side(False, 1 if N % 4 else 4)
    edge = bool(M % tile.M or N % tile.N or K % tile.K)
    kernel = warp_tile(
        tile, a_side, b_side, edge, N % 4 == 0, bool(beta), bias is not None, activation
    )
    a, b, out = a.reshape(-1), b.reshape(-1), out.reshape(-1)
    c = c.reshape(-1) if beta else out
    blocks = ceil_div(M, tile.M) * ceil_div(N, tile.N)
    for first in range(0, batches, 65535):  # the most that a grid's second axis may have
        many = min(batches - first, 65535)
        kernel[(blocks, many), tile.threads, None, tile.shared](
            a[first * a_stride :], b[first * b_stride :], c[first * c_stride :],
            out if bias is None else bias, out[first * M * N :], U32(M), U32(N), U32(K),
            U64(a_stride), U64(b_stride), U64(c_stride), F32(alpha), F32(beta),
        )  # fmt: skip


# The ladder


def _grid_launch(kernel, block, rows, cols):
    """A rung's launch on blocks that make (rows, cols) of the output each."""

    def launch(a, b, c):
        M, N = c.shape
        kernel[(ceil_div(N, cols), ceil_div(M, rows)), block](a, b, c)

    return launch


def _naive_launch(a, b, c):
    M, N = c.shape
    naive[(ceil_div(M, 32), ceil_div(N, 8)), (32, 8)](a, b, c)


def _warp_launch(a, b, c):
    _launch(product(a, b, out=c), "NN", a, b, 1.0, 0.0, None, None, None, c, LARGE)


def _tile_bytes(BM, BN):
    """Global bytes (read, written) of a kernel whose blocks make (BM, BN)."""
    return lambda M, N, K: (4 * M * N * K // BM + 4 * M * N * K // BN, 4 * M * N)


def _tile_shared(BM, BN, TM, TN, read=0, written=0):
    """Shared bytes (read, written) where a thread makes (TM, TN), and reads and writes some steps
    of k more than there are."""
    return lambda M, N, K: (
        4 * M * N * (K + read) * (TM + TN) // (TM * TN),
        4 * M * N * (K + written) // BM + 4 * M * N * (K + written) // BN,
    )


LADDER = (
    Rung(
        "naive", "one thread for one output", 1.0, "where we begin",
        _naive_launch, FLOATS,
        global_bytes=_tile_bytes(1, 1), shared_bytes=lambda M, N, K: (0, 0),
    ),
    Rung(
        "coalesced", "the threads of a warp read neighbours in memory", 6.0,
        "5 sectors for a warp's step of k in place of 33",
        _grid_launch(coalesced, (32, 8), 8, 32), FLOATS,
        global_bytes=_tile_bytes(1, 1), shared_bytes=lambda M, N, K: (0, 0),
    ),
    Rung(
        "shared tile", "a number read from global memory serves 32 threads", 2.0,
        "bound by 2 words from shared memory for a multiply-add: an eighth of the peak",
        _grid_launch(shared_tile(), (32, 32), 32, 32), FLOATS, (32, 32, 32),
        global_bytes=_tile_bytes(32, 32), shared_bytes=_tile_shared(32, 32, 1, 1),
    ),
    Rung(
        "register tile 1-D", "a word from shared memory serves 8 outputs of a thread", 1.8,
        "9/8 words for a multiply-add in place of 2",
        _grid_launch(register_column(), 512, 64, 64), FLOATS, (64, 64, 32),
        global_bytes=_tile_bytes(64, 64), shared_bytes=_tile_shared(64, 64, 8, 1),
    ),
    Rung(
        "register tile 2-D", "8 x 8 outputs a thread", 2.5,
        "a quarter of a word in place of 9/8; waiting for global memory takes the rest",
        _grid_launch(register_tile(), 256, 128, 128), FLOATS, (128, 128, 8),
        global_bytes=_tile_bytes(128, 128), shared_bytes=_tile_shared(128, 128, 8, 8),
    ),
    Rung(
        "vectorized, double-buffered", "16 bytes a load, the next tile on its way meanwhile", 2.5,
        "4 loads for 64 multiply-adds in place of 16, and no waiting for global memory",
        of_whole_tiles(_grid_launch(double_buffered(), 256, 128, 128), 128, 128, 8),
        ("float32",), (128, 128, 8),
        global_bytes=_tile_bytes(128, 128), shared_bytes=_tile_shared(128, 128, 8, 8),
    ),
    Rung(
        "warp tile", "a tile for each warp, asynchronous copies, operands a step ahead", 1.3,
        "6 loads for 128 multiply-adds, fewer words wanted at once, no registers for copies",
        _warp_launch, ("float32",), (LARGE.M, LARGE.N, LARGE.K),
        global_bytes=_tile_bytes(LARGE.M, LARGE.N),
        shared_bytes=_tile_shared(LARGE.M, LARGE.N, 16, 8, 1, (LARGE.stages - 1) * LARGE.K),
    ),
)  # fmt: skip
