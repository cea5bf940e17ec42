"""C = A B on tensor cores: float16 or bfloat16 in, sums in float32. A ladder that goes on where
matmul.py ends.

A tensor core multiplies two small matrices in one instruction of a warp: 16 x 16 times 16 x 8,
2,048 multiply-adds, in place of 64 multiply-adds of 32 lanes. Arithmetic is then so cheap that
everything else must be: each rung takes away a part of what a warp does besides. An H100's tensor
cores do 2,048 multiply-adds in a cycle on each multiprocessor; its shared memory gives 128 bytes.

All rungs see operands as 16-bit patterns: A is (M, K) or, transposed, (K, M) in memory; B is (K, N)
or (N, K). ``matmul`` is the function to call; LADDER has the rungs; the last is in matmul_wgmma.py.
"""

import functools
from typing import NamedTuple

import numpy as np

from kernels import cuda, ptx
from kernels._host import ceil_div, check, empty, multiprocessors, namespace, number
from kernels._ladder import Rung, of_whole_tiles
from kernels._tensor_tiles import (
    DTYPES,
    Operand,
    block_order,
    copier,
    multiple,
    multiplier,
    reader,
    row_writer,
)
from kernels.matmul import apart, product

F16, F32, U32, U64 = np.float16, np.float32, np.uint32, np.uint64
MOST_BATCHES = 65535
A_ROWS, B_ROWS = Operand(True, True), Operand(False, False)  # row by row: "NN"


# Tensor cores, fed by plain loads


@functools.cache
def plain(dtype="float16", BM=128, BN=128, BK=32, WM=64, WN=64):
    """Tiles in shared memory as in matmul.py; each warp makes 64 x 64 outputs with ``mma``.

    The instruction wants its operands spread over the warp in a pattern of its own (see ptx.py): a
    lane holds pairs of neighbours along k. In A they are one word of shared memory; in B, whose
    rows run along n, they lie in two rows, so that a lane reads two halves and puts them together.
    Rows are padded so that the lanes of a warp read different banks. Predicted: 3 times faster than
    float32 at its best, the loads holding it up.
    """
    WARPS, THREADS = BN // WN, 32 * (BM // WM) * (BN // WN)
    MT, NT = WM // 16, WN // 8
    A_PITCH, B_PITCH = BK + 8, BN + 8
    mma = ptx.mma_f16 if dtype == "float16" else ptx.mma_bf16

    @cuda.jit(device=True)
    def fill(shared, pitch, source, start, line, rows, cols, t):
        chunks = U32(cols // 8)
        for i in range(rows * cols // (8 * THREADS)):
            chunk = U32(U32(i * THREADS) + t)
            row, col = chunk // chunks, chunk % chunks * U32(8)
            x, y, z, w = ptx.load_words(source, start + U64(row) * line + U64(col))
            ptx.store_words_shared(shared, row * U32(pitch) + col, x, y, z, w)

    @cuda.jit(launch_bounds=(THREADS, 1))
    def plain_kernel(a, b, out, N, K):
        a_tile = cuda.shared.array(BM * A_PITCH, np.uint16, alignment=16)
        b_tile = cuda.shared.array(BK * B_PITCH, np.uint16, alignment=16)
        t = U32(cuda.threadIdx.x)
        warp, g, p = t // U32(32), t % U32(32) // U32(4), t % U32(4) * U32(2)
        row, col = warp // U32(WARPS) * U32(WM) + g, warp % U32(WARPS) * U32(WN)
        row0, col0 = U64(cuda.blockIdx.y) * U64(BM), U64(cuda.blockIdx.x) * U64(BN)
        N, K = U64(N), U64(K)
        total = cuda.local.array(4 * MT * NT, F32)
        for i in range(4 * MT * NT):
            total[i] = 0.0
        left = cuda.local.array((MT, 4), U32)
        for k0 in range(U32(K) // U32(BK)):
            k0 = U64(k0) * U64(BK)
            fill(a_tile, A_PITCH, a, row0 * K + k0, K, BM, BK, t)
            fill(b_tile, B_PITCH, b, k0 * N + col0, N, BK, BN, t)
            cuda.syncthreads()
            for k in range(0, BK, 16):
                for i in range(MT):
                    at = (row + U32(16 * i)) * U32(A_PITCH) + U32(k) + p
                    left[i, 0] = ptx.load_word_shared(a_tile, at)
                    left[i, 1] = ptx.load_word_shared(a_tile, at + U32(8 * A_PITCH))
                    left[i, 2] = ptx.load_word_shared(a_tile, at + U32(8))
                    left[i, 3] = ptx.load_word_shared(a_tile, at + U32(8 * A_PITCH + 8))
                for j in range(NT):
                    at = (U32(k) + p) * U32(B_PITCH) + col + U32(8 * j) + g
                    low = U32(b_tile[at]) | U32(b_tile[at + U32(B_PITCH)]) << U32(16)
                    at += U32(8 * B_PITCH)
                    high = U32(b_tile[at]) | U32(b_tile[at + U32(B_PITCH)]) << U32(16)
                    for i in range(MT):
                        e = 4 * (i * NT + j)
                        total[e], total[e + 1], total[e + 2], total[e + 3] = mma(
                            left[i, 0], left[i, 1], left[i, 2], left[i, 3], low, high,
                            total[e], total[e + 1], total[e + 2], total[e + 3],
                        )  # fmt: skip
            cuda.syncthreads()
        for i in range(MT):
            for j in range(NT):
                e, y = 4 * (i * NT + j), row0 + U64(row) + U64(16 * i)
                at = y * N + col0 + U64(col) + U64(p) + U64(8 * j)
                out[at], out[at + U64(1)] = total[e], total[e + 1]
                at += U64(8) * N
                out[at], out[at + U64(1)] = total[e + 2], total[e + 3]

    return plain_kernel


# ldmatrix and a swizzle


class Tile(NamedTuple):
    """How a product is cut: a block's tile of C is (M, N), made in steps of K; a warp's is (warp_M,
    warp_N); ``stages`` tiles of A and B are in shared memory at a time; ``blocks`` should fit on a
    multiprocessor."""

    M: int
    N: int
    K: int
    warp_M: int
    warp_N: int
    stages: int
    blocks: int

    @property
    def threads(self):
        return 32 * (self.M // self.warp_M) * (self.N // self.warp_N)

    @property
    def bytes(self):
        """Of shared memory."""
        return 2 * self.stages * (self.M + self.N) * self.K


LARGE = Tile(128, 256, 64, 64, 64, 4, 1)
MEDIUM = Tile(128, 128, 32, 64, 64, 4, 2)
SMALL = Tile(64, 64, 32, 32, 32, 4, 4)


@functools.cache
def swizzled(dtype="float16", tile=MEDIUM):
    """Fragments come from shared memory in one instruction for four matrices.

    ``ldmatrix`` hands each lane of a warp its words, transposed if asked, from 8 x 8 matrices whose
    rows the lanes point at. For a step of k a warp needs 8 of these in place of 16 + 32 loads and
    16 instructions to put halves together. The rows of a matrix are 16-byte chunks in the same
    column of a tile, which would all lie in the same banks; so chunks change places (``twister``).
    Predicted: 2 times.
    """
    BM, BN, BK, WM, WN, _, BLOCKS = tile
    WARPS, THREADS, B_PART = BN // WN, tile.threads, BM * BK
    MT, NT = WM // 16, WN // 8
    a_first, _ = copier(A_ROWS, BM, BK, THREADS, False)
    b_first, _ = copier(B_ROWS, BN, BK, THREADS, False)
    a_place, read_a = reader(A_ROWS, BM, BK, MT)
    b_place, read_b = reader(B_ROWS, BN, BK, NT // 2)
    multiply = multiplier(dtype, MT, NT)

    @cuda.jit(device=True)
    def fill(shared, to, pitch, source, start, line, lines, wide):
        down = THREADS // (wide // 8)
        for i in range(lines // down):
            x, y, z, w = ptx.load_words(source, start + U64(i * down) * line)
            ptx.store_words_shared(shared, to + U32(i * down * pitch), x, y, z, w)

    @cuda.jit(launch_bounds=(THREADS, BLOCKS))
    def swizzled_kernel(a, b, out, N, K):
        shared = cuda.shared.array((BM + BN) * BK, F16, alignment=128)
        t = U32(cuda.threadIdx.x)
        warp, lane = U32(t // U32(32)), U32(t % U32(32))
        row, col = warp // U32(WARPS) * U32(WM), warp % U32(WARPS) * U32(WN)
        row0, col0 = U64(cuda.blockIdx.y) * U64(BM), U64(cuda.blockIdx.x) * U64(BN)
        N, K = U64(N), U64(K)
        a_row, a_col, a_to = a_first(t)
        b_row, b_col, b_to = b_first(t)
        a_start = (row0 + U64(a_row)) * K + U64(a_col)
        b_start = U64(b_row) * N + col0 + U64(b_col)
        a_from, a_chunk = a_place(lane, row)
        b_from, b_chunk = b_place(lane, col)
        total = cuda.local.array(4 * MT * NT, F32)
        for i in range(4 * MT * NT):
            total[i] = 0.0
        left = cuda.local.array((1, 4 * MT), U32)
        right = cuda.local.array((1, 2 * NT), U32)
        for _ in range(U32(K) // U32(BK)):
            fill(shared, a_to, BK, a, a_start, K, BM, BK)
            fill(shared, b_to + U32(B_PART), BN, b, b_start, N, BK, BN)
            a_start, b_start = a_start + U64(BK), b_start + U64(BK) * N
            cuda.syncthreads()
            for k in range(BK // 16):
                read_a(shared, a_from, a_chunk, lane, U32(k), U32(0), left)
                read_b(shared, b_from + U32(B_PART), b_chunk, lane, U32(k), U32(0), right)
                multiply(total, left, right, U32(0))
            cuda.syncthreads()
        row, col = row0 + U64(row + lane // U32(4)), col0 + U64(col + lane % U32(4) * U32(2))
        for i in range(MT):
            for j in range(NT):
                e, at = 4 * (i * NT + j), (row + U64(16 * i)) * N + col + U64(8 * j)
                out[at], out[at + U64(1)] = total[e], total[e + 1]
                at += U64(8) * N
                out[at], out[at + U64(1)] = total[e + 2], total[e + 3]

    return swizzled_kernel


# Asynchronous copies, and nothing that waits


@functools.cache
def staged(
    dtype="float16", out_dtype="float16", tile=LARGE, a_side=A_ROWS, b_side=B_ROWS, edge=False,
    N_multiple=8, beta=False, bias=False, activation=None, GROUP=8,
):  # fmt: skip
    """Copies run ``stages`` - 1 tiles ahead, fragments one step of k ahead, and blocks take turns
    in an order that the L2 cache likes.

    - cp.async writes to shared memory by itself: no registers in between, and one barrier a tile in
      place of two, since a stage is filled again only when all have left it.
    - A warp reads the fragments of the next step before it multiplies those of this one, so that
      ``ldmatrix`` and ``mma`` overlap in one warp; the barrier stands before the last step of a
      tile, whose fragments are there already.
    - One block of 8 warps has a multiprocessor to itself, with 192 KB of shared memory and all
      its registers: 128 x 256 outputs need each number of A and B brought 256 or 128 times less.

    Predicted: 2 times, to nine tenths of what ``mma`` can do, which on an H100 is 5/8 of its peak.
    edge: sizes need not be multiples of the tile's; N_multiple: see ``row_writer``.
    """
    BM, BN, BK, WM, WN, STAGES, BLOCKS = tile
    WARPS, THREADS = BN // WN, tile.threads
    B_PART, STAGE, STEPS = BM * BK, (BM + BN) * BK, BK // 16
    MT, NT = WM // 16, WN // 8
    A_ALONG_K, B_ALONG_K = a_side.along_k, b_side.along_k
    A_DOWN, A_RIGHT = (0, BK) if A_ALONG_K else (BK, 0)  # to the next tile in memory
    B_DOWN, B_RIGHT = (0, BK) if B_ALONG_K else (BK, 0)
    a_first, copy_a = copier(a_side, BM, BK, THREADS, edge)
    b_first, copy_b = copier(b_side, BN, BK, THREADS, edge)
    a_place, read_a = reader(a_side, BM, BK, MT)
    b_place, read_b = reader(b_side, BN, BK, NT // 2)
    multiply, corner = multiplier(dtype, MT, NT), block_order(BM, BN, GROUP)
    write_row = row_writer(dtype, out_dtype, NT, N_multiple, edge, beta, bias, activation)
    cp_async_wait = (
        ptx.cp_async_wait0, ptx.cp_async_wait1, ptx.cp_async_wait2, ptx.cp_async_wait3
    )[STAGES - 2]  # fmt: skip

    @cuda.jit(launch_bounds=(THREADS, BLOCKS))
    def staged_kernel(a, b, c, bias, out, M, N, K, a_batch, b_batch, c_batch, alpha, beta):
        shared = cuda.shared.array(0, F16, alignment=128)
        t, batch = U32(cuda.threadIdx.x), U64(cuda.blockIdx.y)
        M, N, K = U32(M), U32(N), U32(K)
        row0, col0 = corner(U32(cuda.blockIdx.x), M, N)
        warp, lane = U32(t // U32(32)), U32(t % U32(32))
        row, col = warp // U32(WARPS) * U32(WM), warp % U32(WARPS) * U32(WN)

        # Where this thread's first copies come from, how much further the next ones, and where
        # they go.
        a_row, a_col, a_to = a_first(t)
        b_row, b_col, b_to = b_first(t)
        if A_ALONG_K:
            a_row, a_height, a_width, a_next = a_row + row0, M, K, U64(BK)
        else:
            a_col, a_height, a_width, a_next = a_col + row0, K, M, U64(BK) * U64(M)
        if B_ALONG_K:
            b_row, b_height, b_width, b_next = b_row + col0, N, K, U64(BK)
        else:
            b_col, b_height, b_width, b_next = b_col + col0, K, N, U64(BK) * U64(N)
        a_at = U64(a_batch) * batch + U64(a_row) * U64(a_width) + U64(a_col)
        b_at = U64(b_batch) * batch + U64(b_row) * U64(b_width) + U64(b_col)
        b_to += U32(B_PART)
        # Where its fragments are.
        a_from, a_chunk = a_place(lane, row)
        b_from, b_chunk = b_place(lane, col)
        b_from += U32(B_PART)

        total = cuda.local.array(4 * MT * NT, F32)
        for i in range(4 * MT * NT):
            total[i] = 0.0
        left = cuda.local.array((2, 4 * MT), U32)
        right = cuda.local.array((2, 2 * NT), U32)

        tiles = (K + U32(BK - 1)) // U32(BK)
        fill, now = U32(0), U32(0)  # the stages to be filled and to be read
        for stage in range(STAGES - 1):
            if U32(stage) < tiles:
                copy_a(shared, a_to + fill, a, a_at, U32(a_row), U32(a_col), a_height, a_width)
                copy_b(shared, b_to + fill, b, b_at, U32(b_row), U32(b_col), b_height, b_width)
            a_at, b_at = a_at + a_next, b_at + b_next
            a_row, a_col = a_row + U32(A_DOWN), a_col + U32(A_RIGHT)
            b_row, b_col = b_row + U32(B_DOWN), b_col + U32(B_RIGHT)
            fill += U32(STAGE)
            ptx.cp_async_commit()
        cp_async_wait()
        cuda.syncthreads()
        read_a(shared, a_from, a_chunk, lane, U32(0), U32(0), left)
        read_b(shared, b_from, b_chunk, lane, U32(0), U32(0), right)

        for tile in range(tiles):
            for k in cuda.unroll(STEPS):
                if k == STEPS - 1:
                    cp_async_wait()
                    cuda.syncthreads()
                    now += U32(STAGE)
                    if now == U32(STAGES * STAGE):
                        now = U32(0)
                k1, half = U32((k + 1) % STEPS), U32((k + 1) % 2)
                read_a(shared, U32(a_from + now), a_chunk, lane, k1, half, left)
                read_b(shared, U32(b_from + now), b_chunk, lane, k1, half, right)
                if k == 0:
                    if U32(tile) + U32(STAGES - 1) < tiles:
                        copy_a(
                            shared, a_to + fill, a, a_at, U32(a_row), U32(a_col), a_height, a_width
                        )
                        copy_b(
                            shared, b_to + fill, b, b_at, U32(b_row), U32(b_col), b_height, b_width
                        )
                    a_at, b_at = a_at + a_next, b_at + b_next
                    a_row, a_col = a_row + U32(A_DOWN), a_col + U32(A_RIGHT)
                    b_row, b_col = b_row + U32(B_DOWN), b_col + U32(B_RIGHT)
                    fill += U32(STAGE)
                    if fill == U32(STAGES * STAGE):
                        fill = U32(0)
                    ptx.cp_async_commit()
                multiply(total, left, right, U32(k % 2))

        row, col = row0 + row + lane // U32(4), col0 + col + lane % U32(4) * U32(2)
        c_start, out_start = U64(c_batch) * batch, U64(M) * U64(N) * batch
        for i in cuda.unroll(2 * MT):
            write_row(
                total, U32(i // 2 * 4 * NT + i % 2 * 2), U32(row + U32(8 * i)), U32(col), M, N,
                alpha, beta, c, c_start, bias, out, out_start,
            )  # fmt: skip

    return staged_kernel


# The host function


def matmul(
    a, b, *, transpose="NN", alpha=1.0, beta=0.0, c=None, bias=None, activation=None, out=None
):  # fmt: skip
    """activation(alpha A B + beta C + bias) for float16 or bfloat16, sums in float32.

    As ``kernels.matmul.matmul``, which calls it; ``out`` may also be float32. On compute capability
    9.0 it is computed by ``warpgroup`` of matmul_wgmma.py, if the rows of A and B in memory are
    multiples of 8 long; else, and on the simulator, by ``staged``.
    """
    namespace(a=a)
    check("a", a, DTYPES)
    alpha, beta = number("alpha", alpha), number("beta", beta)
    sizes = product(a, b, transpose, beta, c, bias, activation)
    if out is not None:
        namespace(a=a, out=out)
        check("out", out, (a.dtype.name, "float32"), shape=sizes.shape)
        apart(out, c, a=a, b=b, bias=bias)
    out = empty(a, sizes.shape) if out is None else out
    if out.size:
        from kernels import matmul_wgmma

        wgmma = capability(a) == 90 and matmul_wgmma.fits(a, b, sizes.K)
        launch = matmul_wgmma.launch if wgmma else launch_staged
        for some, x, y, z, part in slices(sizes, a, b, c, out):
            launch(some, transpose, x, y, alpha, beta, z, bias, activation, part)
    return out


def slices(sizes, a, b, c, out):
    """(sizes, a, b, c, out) for as many batches at a time as a grid's second axis may have."""
    if sizes.batches <= MOST_BATCHES:
        yield sizes, a, b, c, out
        return
    strides = sizes.a_stride, sizes.b_stride, sizes.c_stride, 1
    arrays = [
        each.reshape(-1, *each.shape[-2:]) if stride and each is not None else each
        for each, stride in zip((a, b, c, out), strides)
    ]
    for first in range(0, sizes.batches, MOST_BATCHES):
        some = slice(first, min(first + MOST_BATCHES, sizes.batches))
        yield (
            sizes._replace(batches=some.stop - first),
            *(
                each[some] if stride and each is not None else each
                for each, stride in zip(arrays, strides)
            ),
        )


def capability(array):
    """The compute capability of an array's device, times 10; 0 for the simulator."""
    return 0 if isinstance(array, np.ndarray) else int(array.device.compute_capability)


def launch_staged(sizes, transpose, a, b, alpha, beta, c, bias, activation, out, tile=None):
    """C = A B by ``staged``."""
    batches, M, N, K, a_stride, b_stride, c_stride, _ = sizes
    if tile is None:
        enough = multiprocessors(a)
        tiles = lambda each: batches * ceil_div(M, each.M) * ceil_div(N, each.N)
        large = LARGE if capability(a) >= 90 else LARGE._replace(stages=3)  # 163 KB on an A100
        tile = next((each for each in (large, MEDIUM) if tiles(each) >= enough), SMALL)
    kernel = staged(
        a.dtype.name, out.dtype.name, tile,
        Operand(True, transpose[0] == "N", a.shape[-1] % 8 == 0),
        Operand(False, transpose[1] == "T", b.shape[-1] % 8 == 0),
        bool(M % tile.M or N % tile.N or K % tile.K), multiple(N),
        bool(beta), bias is not None, activation,
    )  # fmt: skip
    a, b, out = a.view(np.uint16).reshape(-1), b.view(np.uint16).reshape(-1), out.reshape(-1)
    c = c.reshape(-1) if beta else out
    bias = out if bias is None else bias
    blocks = ceil_div(M, tile.M) * ceil_div(N, tile.N)
    kernel[(blocks, batches), tile.threads, None, tile.bytes](
        a, b, c, bias, out, U32(M), U32(N), U32(K),
        U64(a_stride), U64(b_stride), U64(c_stride), F32(alpha), F32(beta),
    )  # fmt: skip


# The ladder


def _tile_launch(make, BM, BN):
    """The launch of a rung that takes multiples of its tile."""

    def launch(a, b, c):
        (M, K), N = a.shape, b.shape[1]
        a, b = (each.view(np.uint16).reshape(-1) for each in (a, b))
        kernel = make(c.dtype.name)
        kernel[(N // BN, M // BM), 32 * (BM // 64) * (BN // 64)](
            a, b, c.reshape(-1), U32(N), U32(K)
        )

    return of_whole_tiles(launch, BM, BN, 32)


def _staged_launch(a, b, c):
    launch_staged(product(a, b), "NN", a, b, 1.0, 0.0, None, None, None, c, LARGE)


def _warpgroup_launch(a, b, c):
    from kernels import matmul_wgmma

    sizes = product(a, b)
    matmul_wgmma.launch(sizes, "NN", a, b, 1.0, 0.0, None, None, None, c, matmul_wgmma.LARGE)


LADDER = (
    Rung(
        "tensor cores", "mma, its operands read from shared memory word by word", 3.0,
        "32 lanes' loads and moves for the operands hold it back, no more the arithmetic",
        _tile_launch(plain, 128, 128), DTYPES, (128, 128, 32),
    ),
    Rung(
        "ldmatrix, swizzle", "four 8 x 8 matrices at once, from chunks that change places", 2.0,
        "8 instructions in place of 64 for 32 mma, and no bank conflicts",
        _tile_launch(swizzled, 128, 128), DTYPES, (128, 128, 32),
    ),
    Rung(
        "asynchronous stages", "copies three tiles ahead, fragments a step ahead, L2 order", 2.0,
        "neither copies nor ldmatrix are waited for; mma then reaches its own limit",
        _staged_launch, DTYPES, (8, 8, 8),
    ),
    Rung(
        "wgmma, bulk copies", "four warps multiply together from shared memory; a copy engine", 1.4,
        "wgmma can use all of the tensor cores, mma 5/8 of them",
        _warpgroup_launch, DTYPES, (8, 8, 8),
    ),
)  # fmt: skip
