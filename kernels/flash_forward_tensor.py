"""FlashAttention's forward pass, the fourth rung: both products on the tensor cores, 16-bit inputs.

The division of work is that of the rung before: a block owns a tile of queries, and a warp 16 or 32
rows of it. What is new:

- Scores come out of the first product in the layout in which the second wants its left operand:
  lane t of a warp holds of a 16 x 8 tile of C rows t / 4 and t / 4 + 8, columns 2 (t mod 4) and the
  next (ptx.mma_f16), and two such tiles, rounded to 16 bits, are one 16 x 16 operand A. The weights
  never leave the registers, and a row belongs to four lanes: its maximum takes two shuffles.
- K as it lies in memory, a row a key, is the right operand of the first product, and V that of the
  second, transposed by ldmatrix on its way.
- Copies run ahead by one tile: two places each for K and V, and one barrier a tile.

A multiprocessor's tensor cores take 4,096 operations in the time in which it makes 16 exponentials:
at H = 64 a score is 256 operations and one exponential, so the exponentials alone take as long as
the products, and both must go on at the same time. Two blocks share a multiprocessor for that.
"""

import functools
from typing import NamedTuple

import numpy as np

from kernels import cuda, ptx
from kernels._host import ceil_div
from kernels.flash_forward_first import ALL, LN2, NEVER, masked

F32, I32, I64, U32 = np.float32, np.int32, np.int64, np.uint32


class Tile(NamedTuple):
    """Warps a block, 2 or more; queries a block (16 or 32 a warp); keys of a tile; blocks that a
    multiprocessor should hold."""

    warps: int
    rows: int
    keys: int
    blocks: int

    def shared(self, H):
        """Bytes of shared memory: Q, and two tiles each of K and V."""
        return 2 * (self.rows + 4 * self.keys) * 32 * ceil_div(H, 32)


@functools.cache
def places(H):
    """Device functions that tell where numbers lie in shared memory: (place, along).

    Rows are 32, 64 ... numbers wide. Chunk c of 8 numbers of row r lies at place c ^ s of its row,
    with s = r mod 8, or r / 2 mod 4 in rows whose chunks are not a multiple of 8. So equal chunks
    of 8 rows, which ldmatrix takes at once, lie in different banks.
    """
    W = 32 * ceil_div(H, 32)
    PAIRS = 4 if W % 64 == 0 else 2

    @cuda.jit(device=True)
    def place(row, chunk):
        # The number of the first element of a chunk.
        swizzle = row & 7 if PAIRS == 4 else row // 2 & 3
        return U32(row * W + (chunk ^ swizzle) * 8)

    @cuda.jit(device=True)
    def along(at, k):
        # From the place of chunk 0 or 1 to that of the chunk 2 k further on.
        return U32(U32(at ^ U32(16 * (k % PAIRS))) + U32(16 * PAIRS * (k // PAIRS)))

    return place, along


@functools.cache
def loader(H, THREADS, ROWS):
    """A device function that begins to copy ROWS rows of width H to shared memory; rows from
    ``count`` on, and columns from H on to a multiple of 32, become zeros."""
    W = 32 * ceil_div(H, 32)
    ACROSS = 8 if W % 64 == 0 else 4  # chunks of a row that neighbouring threads copy
    STEP = THREADS // ACROSS  # a multiple of 8: the swizzle of a thread's rows is always the same
    place, _ = places(H)

    @cuda.jit(device=True)
    def load(shared, to, source, start, count, thread):
        row, chunk = I32(thread // ACROSS), I32(thread % ACROSS)
        at = U32(to + place(U32(row), U32(chunk)))
        begin = start + I64(row * H + chunk * 8)
        for i in range(ROWS // STEP):
            for j in range(W // 8 // ACROSS):
                inside = row + i * STEP < count and (H == W or chunk + j * ACROSS < H // 8)
                size = U32(16) if inside else U32(0)
                to_ = at + U32(i * STEP * W + j * ACROSS * 8)
                from_ = begin + (i * STEP * H + j * ACROSS * 8)
                ptx.cp_async16(shared, to_, source, from_, size)

    return load


@functools.cache
def products(H, M, BN, DTYPE):
    """Device functions of a warp with M times 16 rows: (scores, softmax, outputs).

    Arrays of registers hold tiles of C, four numbers each: S has M x BN / 8 of them, O M x W / 8.
    """
    W = 32 * ceil_div(H, 32)
    N, D = BN // 8, W // 8
    mma = ptx.mma_bf16 if DTYPE == "bfloat16" else ptx.mma_f16
    pack = ptx.pack_bf16 if DTYPE == "bfloat16" else ptx.pack_f16
    _, along = places(H)
    # The products are unrolled by hand: the compiler would leave some of them loops.

    @cuda.jit(device=True)
    def multiply(c, i, a, m, b0, b1):
        c[i], c[i + 1], c[i + 2], c[i + 3] = mma(
            a[m], a[m + 1], a[m + 2], a[m + 3], b0, b1, c[i], c[i + 1], c[i + 2], c[i + 3]
        )

    @cuda.jit(device=True)
    def scores(S, a, shared, query, key):
        for i in range(M * N * 4):
            S[i] = 0.0
        for k in cuda.unroll(W // 16):
            for m in range(M):
                a[4 * m], a[4 * m + 1], a[4 * m + 2], a[4 * m + 3] = ptx.ldmatrix_x4(
                    shared, along(query, k) + U32(16 * W * m)
                )
            for n in cuda.unroll(N // 2):
                b0, b1, b2, b3 = ptx.ldmatrix_x4(shared, along(key, k) + U32(16 * W * n))
                for m in range(M):
                    multiply(S, (m * N + 2 * n) * 4, a, 4 * m, b0, b1)
                for m in range(M):
                    multiply(S, (m * N + 2 * n + 1) * 4, a, 4 * m, b2, b3)

    @cuda.jit(device=True)
    def outputs(O, S, a, shared, value):
        for k in cuda.unroll(BN // 16):
            for m in range(M):
                for j in range(2):
                    s = (m * N + 2 * k + j) * 4
                    a[4 * m + 2 * j] = pack(S[s], S[s + 1])
                    a[4 * m + 2 * j + 1] = pack(S[s + 2], S[s + 3])
            for n in cuda.unroll(D // 2):
                b0, b1, b2, b3 = ptx.ldmatrix_x4_trans(shared, along(value, n) + U32(16 * W * k))
                for m in range(M):
                    multiply(O, (m * D + 2 * n) * 4, a, 4 * m, b0, b1)
                for m in range(M):
                    multiply(O, (m * D + 2 * n + 1) * 4, a, 4 * m, b2, b3)

    @cuda.jit(device=True)
    def softmax(S, O, top, total, m, half, unit):
        # A row of the lane: scores become weights, and what was summed before is rescaled.
        i = 2 * m + half
        new = top[i]
        for n in range(N):
            new = max(new, S[(m * N + n) * 4 + 2 * half])
            new = max(new, S[(m * N + n) * 4 + 2 * half + 1])
        new = max(new, cuda.shfl_xor_sync(ALL, new, 1))
        new = max(new, cuda.shfl_xor_sync(ALL, new, 2))
        base = new * unit if new > NEVER else F32(0)
        keep = ptx.exp2(top[i] * unit - base)
        top[i] = new
        total[i] *= keep
        for n in range(N):
            for e in range(2):
                s = (m * N + n) * 4 + 2 * half + e
                S[s] = ptx.exp2(S[s] * unit - base)
                total[i] += S[s]
        for n in range(D):
            O[(m * D + n) * 4 + 2 * half] *= keep
            O[(m * D + n) * 4 + 2 * half + 1] *= keep

    return scores, softmax, outputs


@functools.cache
def tensor_cores(H, TILE, CAUSAL, MASK, DTYPE):
    """Kernel: a block for TILE.rows queries; the whole pass."""
    BM, BN, THREADS = TILE.rows, TILE.keys, 32 * TILE.warps
    W = 32 * ceil_div(H, 32)
    ROWS = BM // TILE.warps
    M, N, D = ROWS // 16, BN // 8, W // 8
    KEYS, VALUES = BM * W, (BM + 2 * BN) * W  # places in shared memory
    place, _ = places(H)
    scores, softmax, outputs = products(H, M, BN, DTYPE)
    load_queries, load_keys = loader(H, THREADS, BM), loader(H, THREADS, BN)
    pack = ptx.pack_bf16 if DTYPE == "bfloat16" else ptx.pack_f16
    after_mask = masked(MASK)

    @cuda.jit(launch_bounds=(THREADS, TILE.blocks), fastmath=False)
    def flash_tensor_cores(q, k, v, mask, out, lse, unit):
        shared = cuda.shared.array(0, np.uint16, alignment=16)
        L, S, heads = I32(q.shape[2]), I32(k.shape[2]), U32(q.shape[1])
        thread = U32(cuda.threadIdx.x)
        lane, warp = U32(thread % 32), U32(thread // 32)
        tiles = U32(U32(L + BM - 1) // U32(BM))
        row_of_heads = U32(U32(cuda.blockIdx.x) // tiles)
        tile = U32(U32(cuda.blockIdx.x) - row_of_heads * tiles)
        if CAUSAL:
            tile = U32(tiles - U32(1) - tile)  # the longest first
        batch, head = U32(row_of_heads // heads), U32(row_of_heads % heads)
        group = U32(head // U32(heads // U32(k.shape[1])))
        row0, shift = I32(tile * BM), I32(S - L + 1)
        queries = I64(row_of_heads) * L + row0  # the first row in q and out
        keys = I64(batch * U32(k.shape[1]) + group) * S
        end = I32(U32(S + BN - 1) // U32(BN))
        if CAUSAL:
            end = min(end, I32(min(I32(row0 + BM), L) + shift + BN - 2) // BN)
        if end > 0:
            load_queries(shared, 0, q, queries * H, I32(L - row0), thread)
            load_keys(shared, KEYS, k, keys * H, S, thread)
            load_keys(shared, VALUES, v, keys * H, S, thread)
            ptx.cp_async_commit()
        P = cuda.local.array(M * N * 4, np.float32)  # scores, then weights
        O = cuda.local.array(M * D * 4, np.float32)
        a = cuda.local.array(M * 4, np.uint32)
        top, total = cuda.local.array(2 * M, np.float32), cuda.local.array(2 * M, np.float32)
        for i in range(M * D * 4):
            O[i] = 0.0
        for i in range(2 * M):
            top[i], total[i] = NEVER, F32(0)
        # Where this lane's addresses for ldmatrix begin, see ptx.py.
        query = place(U32(warp * ROWS + lane % 16), U32(lane // 16))
        key = U32(KEYS + place(U32(lane // 16 * 8 + lane % 8), U32(lane // 8 % 2)))
        value = U32(VALUES + place(U32(lane % 16), U32(lane // 16)))
        first, column = I32(warp * ROWS + lane // 4), I32(lane % 4 * 2)
        stage = U32(0)
        for n in range(end):
            left = I32(S - n * BN)
            ptx.cp_async_wait0()
            cuda.syncthreads()  # this tile is there, and all have done with the one before
            if n + 1 < end:
                ahead, other = (keys + n * BN + BN) * H, U32(BN * W - stage)
                load_keys(shared, KEYS + other, k, ahead, I32(left - BN), thread)
                load_keys(shared, VALUES + other, v, ahead, I32(left - BN), thread)
                ptx.cp_async_commit()
            scores(P, a, shared, query, U32(key + stage))
            if MASK is not None:
                for m in range(2 * M):
                    for j in range(N):
                        for e in range(2):
                            x = (m // 2 * N + j) * 4 + m % 2 * 2 + e
                            row, col = row0 + first + 8 * m, n * BN + I64(column) + 8 * j + e
                            if row < L and col < S:
                                P[x] = after_mask(P[x] * unit, mask, batch, head, row, col)
            if left < BN or (CAUSAL and n * BN + BN > row0 + shift):
                for m in range(2 * M):
                    seen = left
                    if CAUSAL:
                        seen = min(left, I32(row0 + first + 8 * m + shift - n * BN))
                    seen = I32(seen - column)
                    for j in range(N):
                        for e in range(2):
                            if I32(8 * j + e) >= seen:
                                P[(m // 2 * N + j) * 4 + m % 2 * 2 + e] = NEVER
            for m in range(M):
                for half in range(2):
                    softmax(P, O, top, total, m, half, unit if MASK is None else F32(1))
            outputs(O, P, a, shared, U32(value + stage))
            stage = U32(BN * W - stage)
        for m in range(2 * M):
            row, sums = I32(first + 8 * m), total[m]
            sums += cuda.shfl_xor_sync(ALL, sums, 1)
            sums += cuda.shfl_xor_sync(ALL, sums, 2)
            share = ptx.reciprocal(sums) if sums > F32(0) else F32(0)
            if row < L - row0:
                if column == 0:
                    high = top[m] * unit if MASK is None else top[m]
                    lse[batch, head, row0 + row] = (high + ptx.log2(sums)) * F32(LN2)
                at = (queries + row) * H + column
                for d in range(H // 8):
                    x = (m // 2 * D + d) * 4 + m % 2 * 2
                    ptx.store_word(out, at + 8 * d, pack(O[x] * share, O[x + 1] * share))

    return flash_tensor_cores


def best_tile(H):
    """The tile for rows of width H: as many outputs and scores as a thread's registers hold."""
    if H <= 64:
        return Tile(warps=4, rows=128, keys=64, blocks=2)
    if H <= 128:
        return Tile(warps=4, rows=64, keys=64, blocks=2)
    return Tile(warps=4, rows=64, keys=32, blocks=1)


def run_tensor_cores(q, k, v, mask, kind, out, lse, unit, causal, tile=None):
    """Launch the fourth rung."""
    B, heads, L, H = q.shape
    tile = tile or best_tile(H)
    kernel = tensor_cores(H, tile, causal, kind, q.dtype.name)
    grid = B * heads * ceil_div(L, tile.rows)
    kernel[grid, 32 * tile.warps, None, tile.shared(H)](q, k, v, mask, out, lse, unit)
