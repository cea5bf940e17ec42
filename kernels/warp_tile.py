"""The last rung of matmul.py's ladder, and what ``matmul`` runs on float32: any size, layout and
epilogue, written once and cut to the case by what is known before the kernel runs.

It is CUTLASS's way (github.com/NVIDIA/cutlass, "Efficient GEMM in CUDA"): tiles of tiles, a block's
in shared memory, a warp's and a lane's in registers, each brought closer while the one before it is
used.
"""

import functools
from typing import NamedTuple

import numpy as np

from kernels import cuda, ptx

F32, U32, U64 = np.float32, np.uint32, np.uint64


class Tile(NamedTuple):
    """How a product is cut: a block's tile of C is (M, N), made in steps of K, an even number; a
    warp's is (warp_M, warp_N), its lanes stand (lanes_M, 32 / lanes_M) in it and have pieces of 4 x
    4; ``stages`` tiles of A and B are in shared memory at a time; ``blocks`` should fit on a
    multiprocessor."""

    M: int
    N: int
    K: int
    warp_M: int
    warp_N: int
    lanes_M: int
    stages: int
    blocks: int

    @property
    def threads(self):
        return 32 * (self.M // self.warp_M) * (self.N // self.warp_N)

    @property
    def shared(self):
        """Bytes of shared memory; a row of a tile is four numbers longer than it need be."""
        return 4 * self.stages * self.K * (self.M + 4 + self.N + 4)


LARGE = Tile(128, 256, 16, 64, 64, 4, 3, 1)
SMALL = Tile(64, 64, 16, 32, 32, 8, 3, 4)


class Side(NamedTuple):
    """How an operand lies in memory: ``across``, its K axis runs fastest, so that it is turned on
    its way to shared memory, or along its rows (A) or columns (B); ``width``, how many numbers a
    copy may take."""

    across: bool
    width: int


def copier(side, size, BK, pitch, threads, edge):
    """How an operand's tile comes to shared memory, where it is (BK, size) with rows of ``pitch``;
    what is a row of A or a column of B is here a place. The number of copies that a thread makes,
    and device functions:

    first(t): place and k of the first number that a thread copies; address(place, k, line): where
    that is in the operand, whose rows in memory have ``line`` numbers; ahead(line): how much
    further it is in the next tile; copy(…, s, more): begin copy number s, of zeros if not ``more``.
    """
    ACROSS, WIDTH, EDGE, PITCH = side.across, side.width, edge, pitch
    LINE = min(BK, 8) if ACROSS else size // WIDTH  # threads that copy neighbours
    STEP = threads // LINE  # lines of them that are copied at a time
    PARTS = BK // LINE if ACROSS else 1
    if threads % LINE or size * BK % (WIDTH * threads):
        raise ValueError(f"{threads} threads cannot share the copies of a tile of ({BK}, {size})")

    @cuda.jit(device=True)
    def first(t):
        if ACROSS:
            return U32(t // U32(LINE)), U32(t % U32(LINE))
        return U32(t % U32(LINE) * U32(WIDTH)), U32(t // U32(LINE))

    @cuda.jit(device=True)
    def address(place, k, line):
        return place * line + k if ACROSS else k * line + place

    @cuda.jit(device=True)
    def ahead(line):
        return U64(BK) if ACROSS else U64(BK) * line

    @cuda.jit(device=True)
    def copy(shared, to, source, start, line, place, k, places, K, s, more):
        places_on = U32(s // PARTS * STEP) if ACROSS else U32(0)  # how far copy s is from the first
        k_on = U32(s % PARTS * LINE) if ACROSS else U32(s * STEP)
        if EDGE:
            more = more and U32(place + places_on) < places and U32(k + k_on) < K
        count = U32(4 * WIDTH) if more else U32(0)
        target = to + U32(places_on + k_on * U32(PITCH))
        begin = start + address(U64(places_on), U64(k_on), line)
        if WIDTH == 4:
            ptx.cp_async16(shared, target, source, begin, count)
        else:
            ptx.cp_async4(shared, target, source, begin, count)

    return size * BK // (WIDTH * threads), first, address, ahead, copy


def reader(pieces, stride):
    """The device function that reads a thread's ``pieces`` of four numbers, ``stride`` apart, from
    shared memory into half ``half`` of a local array (2, 4 pieces)."""
    PIECES, STRIDE = pieces, stride

    @cuda.jit(device=True)
    def read(shared, start, half, into):
        for i in range(PIECES):
            four = ptx.load4_shared(shared, start + U32(i * STRIDE))
            for e in cuda.unroll(4):
                into[half, 4 * i + e] = four[e]

    return read


def finisher(beta, bias, activation):
    """The device function that makes an output of a sum: activation(alpha sum + beta c + bias)."""
    BETA, BIAS, ACTIVATION = beta, bias, activation

    @cuda.jit(device=True)
    def finish(total, alpha, beta, c, at, bias, col):
        y = alpha * total
        if BETA:
            y += beta * c[at]
        if BIAS:
            y += bias[col]
        if ACTIVATION == "relu":
            return F32(0.0) if y < 0.0 else y
        if ACTIVATION == "gelu":  # y / 2 (1 + tanh u) = y / (1 + exp(-2 u))
            u = y * (0.7978845608 + 0.0356774081 * y * y)
            return y * ptx.reciprocal(1.0 + ptx.exp2(-2.885390082 * u))
        if ACTIVATION == "silu":
            return y * ptx.reciprocal(1.0 + ptx.exp2(-1.442695041 * y))
        return y

    return finish


TURNED, STRAIGHT = Side(True, 1), Side(False, 4)  # A and B as they are, N a multiple of 4


@functools.cache
def warp_tile(
    tile=LARGE, a_side=TURNED, b_side=STRAIGHT, edge=False, vector=True,
    beta=False, bias=False, activation=None, GROUP=8,
):  # fmt: skip
    """A warp makes a tile of its own, and copies need neither registers nor waiting.

    - The 32 lanes of a warp stand 4 x 8 in its 64 x 64 outputs, 16 x 8 each: for a step of k they
      read 64 + 64 words from shared memory, most of them by several lanes at once, in 6 loads of
      16 bytes for 128 multiply-adds; 92 of the loop's 100 instructions are arithmetic.
    - cp.async brings tiles from global to shared memory by itself, ``stages`` - 1 ahead, and turns
      A on the way, a word at a time. Copies are begun a few at a time, EVERY steps of k: many at
      once would hold up the loads behind them. Behind the last tile they copy zeros.
    - The words of the next step of k are read before those of this one are used; the barrier
      stands before the last step of a tile, where they are already there.
    - Blocks go through C in bands of GROUP tiles, which share what they read in the L2 cache.

    Predicted: 1.3 times. edge: sizes need not be multiples of the tile's; vector: N is a multiple
    of 4; beta, bias, activation: what the epilogue does.
    """
    BM, BN, BK, WM, WN, LM, STAGES, BLOCKS = tile
    EVERY = BK if edge else 4  # steps of k from some copies to the next
    THREADS, WARPS = tile.threads, BN // WN  # warps beside each other
    LN = 32 // LM
    IM, IN = WM // (4 * LM), WN // (4 * LN)  # pieces of four of a lane
    TM, TN = 4 * IM, 4 * IN
    A_PITCH, B_PITCH = BM + 4, BN + 4
    B_PART, STAGE = BK * A_PITCH, BK * (A_PITCH + B_PITCH)  # where B begins in a stage; its size
    A_ACROSS, B_ACROSS, EDGE, VECTOR = a_side.across, b_side.across, edge, vector
    A_COPIES, a_first, a_address, a_ahead, a_copy = copier(a_side, BM, BK, A_PITCH, THREADS, edge)
    B_COPIES, b_first, b_address, b_ahead, b_copy = copier(b_side, BN, BK, B_PITCH, THREADS, edge)
    read_a, read_b = reader(IM, 4 * LM), reader(IN, 4 * LN)
    finish = finisher(beta, bias, activation)
    cp_async_wait = (ptx.cp_async_wait0, ptx.cp_async_wait1, ptx.cp_async_wait2)[STAGES - 2]

    @cuda.jit(launch_bounds=(THREADS, BLOCKS))
    def warp_kernel(a, b, c, bias, out, M, N, K, a_batch, b_batch, c_batch, alpha, beta):
        shared = cuda.shared.array(0, F32, alignment=16)
        t, batch = U32(cuda.threadIdx.x), U64(cuda.blockIdx.y)

        # This block's tile of C begins at (row0, col0).
        down, right = U32((M + U32(BM - 1)) // U32(BM)), U32((N + U32(BN - 1)) // U32(BN))
        band = U32(cuda.blockIdx.x // U32(U32(GROUP) * right) * U32(GROUP))
        inside = U32(cuda.blockIdx.x % U32(U32(GROUP) * right))
        height = U32(min(U32(down - band), U32(GROUP)))
        row0 = U32(U32(band + inside % height) * U32(BM))
        col0 = U32(inside // height * U32(BN))

        # This thread's part of it begins at (row, col) there.
        warp, lane = U32(t // U32(32)), U32(t % U32(32))
        row = U32(warp // U32(WARPS) * U32(WM) + lane // U32(LN) * U32(4))
        col = U32(warp % U32(WARPS) * U32(WN) + lane % U32(LN) * U32(4))

        # Its first copies: which number of the tile, where that comes from, and where it goes.
        a_place, a_k = a_first(t)
        b_place, b_k = b_first(t)
        a_to = U32(a_k * U32(A_PITCH) + a_place)
        b_to = U32(b_k * U32(B_PITCH) + b_place + U32(B_PART))
        a_place, b_place = U32(a_place + row0), U32(b_place + col0)
        a_line, b_line = U64(K) if A_ACROSS else U64(M), U64(K) if B_ACROSS else U64(N)
        a_start = U64(a_batch * batch + a_address(U64(a_place), U64(a_k), a_line))
        b_start = U64(b_batch * batch + b_address(U64(b_place), U64(b_k), b_line))

        total = cuda.local.array((TM, TN), F32)
        for i in range(TM):
            for j in range(TN):
                total[i, j] = 0.0
        left = cuda.local.array((2, TM), F32)
        right = cuda.local.array((2, TN), F32)

        tiles = U32((K + U32(BK - 1)) // U32(BK))
        for stage in cuda.unroll(STAGES - 1):
            to, more = U32(stage * STAGE), U32(stage) < tiles
            for i in range(A_COPIES):
                a_copy(shared, a_to + to, a, a_start, a_line, a_place, a_k, M, K, i, more)
            for i in range(B_COPIES):
                b_copy(shared, b_to + to, b, b_start, b_line, b_place, b_k, N, K, i, more)
            a_start, b_start = a_start + a_ahead(a_line), b_start + b_ahead(b_line)
            a_k, b_k = U32(a_k + U32(BK)), U32(b_k + U32(BK))
            ptx.cp_async_commit()
        cp_async_wait()
        cuda.syncthreads()
        fill, now = U32((STAGES - 1) * STAGE), U32(0)  # the stages to be filled and to be read
        a_from, b_from = row, U32(col + U32(B_PART))
        read_a(shared, a_from, 0, left)
        read_b(shared, b_from, 0, right)

        tile = U32(0)
        while tile < tiles:
            more = U32(tile + U32(STAGES - 1)) < tiles
            for k in cuda.unroll(BK):
                if k % EVERY == 0:
                    for i in range(k * A_COPIES // BK, (k + EVERY) * A_COPIES // BK):
                        to = U32(a_to + fill)
                        a_copy(shared, to, a, a_start, a_line, a_place, a_k, M, K, i, more)
                    for i in range(k * B_COPIES // BK, (k + EVERY) * B_COPIES // BK):
                        to = U32(b_to + fill)
                        b_copy(shared, to, b, b_start, b_line, b_place, b_k, N, K, i, more)
                if k == BK - 1:
                    a_start, b_start = a_start + a_ahead(a_line), b_start + b_ahead(b_line)
                    a_k, b_k = U32(a_k + U32(BK)), U32(b_k + U32(BK))
                    ptx.cp_async_commit()
                    fill = now
                    now = U32(now + U32(STAGE)) if now < U32((STAGES - 1) * STAGE) else U32(0)
                    cp_async_wait()
                    cuda.syncthreads()
                    a_from, b_from = U32(row + now), U32(col + now + U32(B_PART))
                read_a(shared, a_from + U32((k + 1) % BK * A_PITCH), (k + 1) % 2, left)
                read_b(shared, b_from + U32((k + 1) % BK * B_PITCH), (k + 1) % 2, right)
                for i in range(TM):
                    for j in range(TN):
                        total[i, j] += left[k % 2, i] * right[k % 2, j]
            tile = U32(tile + U32(1))
        ptx.cp_async_wait0()

        four = cuda.local.array(4, F32)
        row, col = U32(row + row0), U32(col + col0)
        for i in range(TM):
            y = U32(row + U32(i // 4 * 4 * LM + i % 4))
            for j in range(IN):
                x = U32(col + U32(j * 4 * LN))
                at = c_batch * batch + U64(y) * U64(N) + x
                out_at = U64(M) * U64(N) * batch + U64(y) * U64(N) + x
                if not EDGE or (y < M and x < N):
                    for e in range(4):
                        if VECTOR or U32(x + U32(e)) < N:
                            four[e] = finish(
                                total[i, 4 * j + e], alpha, beta, c, at + U64(e), bias, x + U32(e)
                            )
                            if not VECTOR:
                                out[out_at + U64(e)] = four[e]
                    if VECTOR:
                        ptx.store4(out, out_at, four[0], four[1], four[2], four[3])

    return warp_kernel
