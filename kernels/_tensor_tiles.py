"""Pieces of the kernels in matmul_tensor.py and matmul_wgmma.py: how operands get to swizzled tiles
in shared memory, from there to a warp's registers, and how sums get out.

Each is a factory of device functions for one choice of sizes and layouts. Matrices of 16-bit
numbers are arrays of uint16.
"""

from typing import NamedTuple

import numpy as np

from kernels import cuda, ptx
from kernels.matmul import finisher

F32, U32, U64 = np.float32, np.uint32, np.uint64
DTYPES = ("float16", "bfloat16")


class Operand(NamedTuple):
    """A or B as it lies in memory: ``along_k``, whether k runs fastest; ``words``, whether 16 bytes
    may be copied at once: its rows are multiples of 8 long."""

    is_a: bool
    along_k: bool
    words: bool = True


def twister(wide):
    """The device function that says in which place of its line a 16-byte chunk of a tile lies, the
    lines being ``wide`` elements.

    Eight lanes that read the same chunk of eight lines should find it in different banks: 8 places
    of 16 bytes are all 32. Lines of 128 bytes or more change places by their number modulo 8;
    lines of 64 bytes, two of which fill the banks, by half their number modulo 4.
    """
    HALF = wide == 32

    @cuda.jit(device=True)
    def twisted(line, chunk):
        if HALF:
            return chunk ^ line // U32(2) % U32(4)
        return chunk ^ line % U32(8)

    return twisted


def copier(operand, size, BK, threads, edge):
    """The device functions that bring an operand's tile to shared memory, BK lines of ``size``
    or, along k, ``size`` lines of BK elements.

    first(t): the line and column of the first chunk that a thread copies, and its place in the
    tile; copy(…): begin all copies of a thread, whose first chunk is element ``at``, at (row, col)
    of a matrix (height, width).
    """
    WIDE = BK if operand.along_k else size
    CHUNKS = WIDE // 8  # in a line
    DOWN = threads // CHUNKS  # lines from one copy of a thread to its next
    COPIES = size * BK // (8 * threads)
    WORDS, EDGE = operand.words, edge
    assert DOWN % 8 == 0 and COPIES > 0 and threads % CHUNKS == 0, "tile and threads do not fit"
    twisted = twister(WIDE)

    @cuda.jit(device=True)
    def first(t):
        line, chunk = t // U32(CHUNKS), t % U32(CHUNKS)
        return line, chunk * U32(8), line * U32(WIDE) + twisted(line, chunk) * U32(8)

    @cuda.jit(device=True)
    def pair(source, at, col, width, inside):
        """Two elements of a row as a word, zeros beyond its end."""
        low = U32(source[at]) if inside and col < width else U32(0)
        high = U32(source[at + U64(1)]) if inside and col + U32(1) < width else U32(0)
        return low | high << U32(16)

    @cuda.jit(device=True)
    def copy(shared, to, source, at, row, col, height, width):
        step = U64(DOWN) * U64(width)
        for i in range(COPIES):
            inside = not EDGE or row + U32(i * DOWN) < height
            if WORDS:
                count = U32(16)
                if EDGE:  # the rest is filled with zeros
                    count = U32(16) if inside and col < width else U32(0)
                ptx.cp_async16(shared, to + U32(i * DOWN * WIDE), source, at, count)
            else:
                ptx.store_words_shared(
                    shared, to + U32(i * DOWN * WIDE),
                    pair(source, at, col, width, inside),
                    pair(source, at + U64(2), col + U32(2), width, inside),
                    pair(source, at + U64(4), col + U32(4), width, inside),
                    pair(source, at + U64(6), col + U32(6), width, inside),
                )  # fmt: skip
            at += step

    return first, copy


def reader(operand, size, BK, count):
    """The device functions that read a warp's fragments with ``ldmatrix``, four 8 x 8 matrices at a
    time, which are 16 of m by 16 of k, or 16 of k by 16 of n.

    place(lane, across): the element and the chunk at which a lane begins, in a warp whose part
    begins at ``across`` of m or n; read(shared, start, chunk, twist, k, half, into): read step k of
    a tile into half ``half`` of a local array (2, 4 count).

    The matrices of A stand in the order (0, 0), (8, 0), (0, 8), (8, 8) of (m, k), and those of B
    (0, 0), (8, 0), (0, 8), (8, 8) of (k, n). Where lines of the tile run along k for A, and along n
    for B, the second matrix is 8 lines below the first; else it is the chunk beside it.
    """
    ALONG_K, WIDE, COUNT = operand.along_k, BK if operand.along_k else size, count
    BELOW = operand.is_a == operand.along_k
    # The mma takes A row by row and B column by column: what lies the other way is transposed.
    load = ptx.ldmatrix_x4 if operand.along_k else ptx.ldmatrix_x4_trans
    twisted = twister(WIDE)

    @cuda.jit(device=True)
    def place(lane, across):
        second, third = lane // U32(8) % U32(2), lane // U32(16)
        down = second if BELOW else third
        chunk = third if BELOW else second
        line = lane % U32(8) + U32(8) * down
        if ALONG_K:
            return (across + line) * U32(WIDE), chunk
        return line * U32(WIDE), across // U32(8) + chunk

    @cuda.jit(device=True)
    def read(shared, start, chunk, lane, k, half, into):
        line = lane % U32(8)
        for i in range(COUNT):
            if ALONG_K:
                at = start + U32(i * 16 * WIDE) + twisted(line, chunk + U32(2) * k) * U32(8)
            else:
                at = start + k * U32(16 * WIDE) + twisted(line, chunk + U32(2 * i)) * U32(8)
            (
                into[half, 4 * i],
                into[half, 4 * i + 1],
                into[half, 4 * i + 2],
                into[half, 4 * i + 3],
            ) = load(shared, at)

    return place, read


def multiplier(dtype, MT, NT):
    """The device function that adds the products of MT fragments of A and NT of B, half ``half`` of
    their arrays, to ``total``: four sums for each pair, those of one fragment of A in a row."""
    mma = ptx.mma_f16 if dtype == "float16" else ptx.mma_bf16

    @cuda.jit(device=True)
    def multiply(total, left, right, half):
        for i in range(MT):
            for j in range(NT):
                e = 4 * (i * NT + j)
                total[e], total[e + 1], total[e + 2], total[e + 3] = mma(
                    left[half, 4 * i], left[half, 4 * i + 1],
                    left[half, 4 * i + 2], left[half, 4 * i + 3],
                    right[half, 2 * j], right[half, 2 * j + 1],
                    total[e], total[e + 1], total[e + 2], total[e + 3],
                )  # fmt: skip

    return multiply


@cuda.jit(device=True)
def quad_transpose(p, a, b, c, d):
    """Four lanes have four words each; lane p of them gets word p of each, in the lanes' order."""
    odd, upper = p % U32(2) == U32(1), p >= U32(2)
    # Pairs: word 0 or 1, then word 2 or 3, of an even lane and its neighbour.
    x, y = ptx.swap_words(a if odd else b, 1), ptx.swap_words(c if odd else d, 1)
    a, b = x if odd else a, b if odd else x
    c, d = y if odd else c, d if odd else y
    x, y = ptx.swap_words(a if upper else c, 2), ptx.swap_words(b if upper else d, 2)
    return x if upper else a, y if upper else b, c if upper else x, d if upper else y


def row_writer(dtype, out_dtype, count, N_multiple, edge, beta, bias, activation):
    """The device function that finishes a lane's part of a row of outputs, from ``total[first]``
    on: two neighbours, ``count`` times, 8 columns apart.

    dtype: of c and the bias. N_multiple: 8, 2 or 1, of which N is a multiple. edge: some may lie
    outside of (M, N). Two neighbours are read and written as one word, if N is even; of 16-bit
    outputs four lanes write 16 bytes each, having changed places, if N is a multiple of 8.
    """
    COUNT, STEP, EDGE, BETA, BIAS = count, 8 if count > 8 else 4, edge, beta, bias
    EVEN, WORDS = N_multiple > 1, out_dtype in DTYPES
    CHUNKS = N_multiple == 8 and WORDS
    pack = ptx.pack_bf16 if out_dtype == "bfloat16" else ptx.pack_f16
    unpack = ptx.unpack_bf16 if dtype == "bfloat16" else ptx.unpack_f16
    finish = finisher(beta, bias, activation)

    @cuda.jit(device=True)
    def read_pair(source, at, inside, into, i):
        word = U32(0)
        if inside:
            word = ptx.load_word(source, at)
        into[i], into[i + U32(1)] = unpack(word)

    @cuda.jit(device=True)
    def write_even(total, first, row, col, M, N, alpha, beta, c, c_start, bias, out, out_start):
        at, below, p = U64(row) * U64(N) + U64(col), not EDGE or row < M, col // U32(2) % U32(4)
        near_c, near_bias = cuda.local.array(2 * STEP, F32), cuda.local.array(2 * STEP, F32)
        words = cuda.local.array(STEP, U32)
        for j in cuda.unroll(0, COUNT, STEP):
            for i in range(STEP):  # all are asked for before one is used
                x = U32(col + U32(8) * U32(j + i))
                inside = not EDGE or (below and x < N)
                if BETA:
                    read_pair(c, c_start + at + U64(x - col), inside, near_c, U32(2 * i))
                if BIAS:
                    read_pair(bias, x, inside, near_bias, U32(2 * i))
            for i in range(STEP):
                e, k, x = first + U32(4) * U32(j + i), U32(2 * i), U32(col + U32(8) * U32(j + i))
                y = finish(total[e], alpha, beta, near_c, k, near_bias, k)
                k, e = k + U32(1), e + U32(1)
                z = finish(total[e], alpha, beta, near_c, k, near_bias, k)
                if CHUNKS:
                    words[i] = pack(y, z)
                elif not EDGE or (below and x < N):
                    here = out_start + at + U64(x - col)
                    if WORDS:
                        ptx.store_word(out, here, pack(y, z))
                    else:
                        out[here], out[here + U64(1)] = y, z
            if CHUNKS:
                for i in cuda.unroll(0, STEP, 4):
                    a, b, c_, d = quad_transpose(
                        p, words[i], words[i + 1], words[i + 2], words[i + 3]
                    )
                    x = U32(col + U32(8 * (j + i)) + U32(6) * p)
                    if not EDGE or (below and x < N):
                        ptx.store_words(out, out_start + at + U64(x - col), a, b, c_, d)

    @cuda.jit(device=True)
    def write_odd(total, first, row, col, M, N, alpha, beta, c, c_start, bias, out, out_start):
        if row < M:
            for j in cuda.unroll(COUNT):
                for i in cuda.unroll(2):
                    e, x = first + U32(4 * j + i), U32(col + U32(8 * j + i))
                    if x < N:
                        here = U64(row) * U64(N) + U64(x)
                        y = finish(total[e], alpha, beta, c, c_start + here, bias, x)
                        out[out_start + here] = y

    return write_even if EVEN else write_odd


def multiple(N):
    """The largest of 8, 2 and 1 of which N is a multiple."""
    return 8 if N % 8 == 0 else 2 if N % 2 == 0 else 1


def block_order(BM, BN, group):
    """The device function that tells where block ``index`` of a (M, N) product begins: (row, col).

    Blocks that run at the same time should read the same rows and columns, so that the L2 cache
    serves them: they go down in bands of ``group`` tiles, band after band.
    """

    @cuda.jit(device=True)
    def corner(index, M, N):
        down, right = (M + U32(BM - 1)) // U32(BM), (N + U32(BN - 1)) // U32(BN)
        band, inside = index // (U32(group) * right), index % (U32(group) * right)
        height = min(U32(group), down - band * U32(group))
        row, col = band * U32(group) + inside % height, inside // height
        return U32(row * U32(BM)), U32(col * U32(BN))

    return corner
