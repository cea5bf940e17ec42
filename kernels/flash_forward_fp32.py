"""FlashAttention's forward pass, the third rung: the work divided as in the second FlashAttention,
and tiles of registers, in float32.

A block owns a tile of queries for good: loops over keys are inside, so the outputs and the two
statistics of a row never leave the registers, and there are as many blocks as tiles of queries. The
weights of a row are not divided by their sum before the end.

What is left is 4 L S H operations, and to keep the multipliers busy with them. As in matmul.py a
thread makes a tile of scores, RT rows by BN / 8 keys: of 256 multiply-adds on 4 columns with RT = 8
and BN = 64, only 16 loads of 16 bytes. A warp has 4 RT rows and all keys of the tile, lanes in 4
rows of 8, so a row's maximum takes three shuffles, and the weights cross from the layout of the
first product to that of the second through shared memory that no other warp touches.
"""

import functools
from typing import NamedTuple

import numpy as np

from kernels import cuda, ptx
from kernels._host import ceil_div
from kernels.flash_forward_first import ALL, LN2, NEVER, masked

F32, I32, I64, U32 = np.float32, np.int32, np.int64, np.uint32


class Tile(NamedTuple):
    """Warps a block, 2 or more; queries a thread (a warp has four times as many); keys of a tile;
    blocks that a multiprocessor should hold."""

    warps: int
    rows: int
    keys: int
    blocks: int

    @property
    def queries(self):
        """Rows of a block."""
        return 4 * self.warps * self.rows

    def shared(self, H):
        """Bytes of shared memory: Q, K, V, and the weights."""
        width = 32 * ceil_div(H, 32)
        return 4 * ((self.queries + 2 * self.keys) * width + self.queries * (self.keys + 8))


@functools.cache
def loader(H, THREADS, ROWS, BITS):
    """A device function that begins to copy ROWS rows of width H to shared memory; rows from
    ``count`` on, and columns from H on to a multiple of 32, become zeros.

    Chunk c of 16 bytes of row r lies at place c ^ (r & BITS) of its row: so equal chunks of
    BITS + 1 rows lie in different banks. A warp copies 4 rows of 128 bytes at a time.
    """
    W, STEP = 32 * ceil_div(H, 32), THREADS // 8

    @cuda.jit(device=True)
    def load(shared, to, source, start, count, thread):
        row, chunk = I32(thread // 8), I32(thread % 8)
        at = U32(to + row * W + (chunk ^ (row & BITS)) * 4)
        begin = start + I64(row * H + chunk * 4)
        for i in range(ROWS // STEP):
            for j in range(W // 32):
                inside = row + i * STEP < count and (H == W or chunk * 4 + j * 32 < H)
                size = U32(16) if inside else U32(0)
                to_, from_ = at + U32(i * STEP * W + j * 32), begin + (i * STEP * H + j * 32)
                ptx.cp_async16(shared, to_, source, from_, size)

    return load


@functools.cache
def products(H, RT, BN):
    """Device functions: the two products of a thread's tile, and softmax between them."""
    W, KT = 32 * ceil_div(H, 32), BN // 8
    CT, PITCH = W // 8, BN + 8

    @cuda.jit(device=True)
    def scores(S, x, shared, query, ty, key, tx):
        for i in range(RT * KT):
            S[i] = 0.0
        for c in range(W // 4):
            for i in range(RT):
                x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3] = ptx.load4_shared(
                    shared, query + (U32(c) ^ ty) * U32(4) + U32(i * 4 * W)
                )
            for j in range(KT):
                k0, k1, k2, k3 = ptx.load4_shared(
                    shared, key + (U32(c) ^ tx) * U32(4) + U32(j * 8 * W)
                )
                for i in range(RT):
                    S[i * KT + j] += x[4 * i] * k0
                for i in range(RT):
                    S[i * KT + j] += x[4 * i + 1] * k1
                for i in range(RT):
                    S[i * KT + j] += x[4 * i + 2] * k2
                for i in range(RT):
                    S[i * KT + j] += x[4 * i + 3] * k3

    @cuda.jit(device=True)
    def outputs(O, x, shared, weight, value):
        for c in range(BN // 4):
            for i in range(RT):
                x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3] = ptx.load4_shared(
                    shared, weight + U32(c) * U32(4) + U32(i * 4 * PITCH)
                )
            for e in range(4):
                for j in range(CT // 4):
                    v0, v1, v2, v3 = ptx.load4_shared(
                        shared, value + U32(c) * U32(4 * W) + U32(e * W + 32 * j)
                    )
                    for i in range(RT):
                        O[i * CT + 4 * j] += x[4 * i + e] * v0
                        O[i * CT + 4 * j + 1] += x[4 * i + e] * v1
                        O[i * CT + 4 * j + 2] += x[4 * i + e] * v2
                        O[i * CT + 4 * j + 3] += x[4 * i + e] * v3

    @cuda.jit(device=True)
    def softmax(S, O, top, total, i, unit):
        # Row i of the thread: scores become weights, and what was summed before is rescaled.
        new = top[i]
        for j in range(KT):
            new = max(new, S[i * KT + j])
        for step in range(3):
            new = max(new, cuda.shfl_xor_sync(ALL, new, 1 << step))
        base = new * unit if new > NEVER else F32(0)
        keep = ptx.exp2(top[i] * unit - base)
        top[i] = new
        total[i] *= keep
        for j in range(KT):
            S[i * KT + j] = ptx.exp2(S[i * KT + j] * unit - base)
            total[i] += S[i * KT + j]
        for j in range(CT):
            O[i * CT + j] *= keep

    return scores, softmax, outputs


@functools.cache
def queries_outside(H, TILE, CAUSAL, MASK):
    """Kernel: a block for TILE.queries queries; the whole pass."""
    RT, BN, BM, THREADS = TILE.rows, TILE.keys, TILE.queries, 32 * TILE.warps
    W = 32 * ceil_div(H, 32)
    KT, CT, PITCH = BN // 8, W // 8, BN + 8
    KEYS, VALUES, WEIGHTS = BM * W, (BM + BN) * W, (BM + 2 * BN) * W  # places in shared memory
    scores, softmax, outputs = products(H, RT, BN)
    load_queries, load_keys = loader(H, THREADS, BM, 3), loader(H, THREADS, BN, 7)
    load_values, after_mask = loader(H, THREADS, BN, 0), masked(MASK)

    @cuda.jit(launch_bounds=(THREADS, TILE.blocks), fastmath=False)
    def flash_queries_outside(q, k, v, mask, out, lse, unit):
        shared = cuda.shared.array(0, np.float32, alignment=16)
        L, S, heads = I32(q.shape[2]), I32(k.shape[2]), U32(q.shape[1])
        thread = U32(cuda.threadIdx.x)
        warp, ty, tx = U32(thread // 32), U32(thread % 32 // 8), U32(thread % 8)
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
            ptx.cp_async_commit()
        P = cuda.local.array(RT * KT, np.float32)  # scores, then weights
        O = cuda.local.array(RT * CT, np.float32)
        x = cuda.local.array(RT * 4, np.float32)
        top, total = cuda.local.array(RT, np.float32), cuda.local.array(RT, np.float32)
        for i in range(RT * CT):
            O[i] = 0.0
        for i in range(RT):
            top[i], total[i] = NEVER, F32(0)
        first = I32(warp * (4 * RT) + ty)
        query, key = U32(first * W), U32(KEYS + tx * W)
        value, weight = U32(VALUES + tx * 4), U32(WEIGHTS + first * PITCH)
        for n in range(end):
            left = I32(S - n * BN)
            ptx.cp_async_wait0()
            cuda.syncthreads()  # K is there; all have done with V
            load_values(shared, VALUES, v, (keys + n * BN) * H, left, thread)
            ptx.cp_async_commit()
            scores(P, x, shared, query, ty, key, tx)
            if MASK is not None:
                for i in range(RT):
                    for j in range(KT):
                        a, b = row0 + first + 4 * i, n * BN + I64(tx) + 8 * j
                        if a < L and b < S:
                            P[i * KT + j] = after_mask(
                                P[i * KT + j] * unit, mask, batch, head, a, b
                            )
            if left < BN or (CAUSAL and n * BN + BN > row0 + shift):
                for i in range(RT):
                    seen = left
                    if CAUSAL:
                        seen = min(left, I32(row0 + first + 4 * i + shift - n * BN))
                    seen = I32(seen - I32(tx))
                    for j in range(KT):
                        if I32(8 * j) >= seen:
                            P[i * KT + j] = NEVER
            for i in range(RT):
                softmax(P, O, top, total, i, unit if MASK is None else F32(1))
                for j in range(KT):
                    shared[weight + tx + U32(4 * i * PITCH + 8 * j)] = P[i * KT + j]
            ptx.cp_async_wait0()
            cuda.syncthreads()  # V is there; all have done with K
            if n + 1 < end:
                load_keys(shared, KEYS, k, (keys + n * BN + BN) * H, I32(left - BN), thread)
                ptx.cp_async_commit()
            outputs(O, x, shared, weight, value)
        for i in range(RT):
            row, sums = I32(first + 4 * i), total[i]
            for step in range(3):
                sums += cuda.shfl_xor_sync(ALL, sums, 1 << step)
            share = ptx.reciprocal(sums) if sums > F32(0) else F32(0)
            if row < L - row0:
                if tx == U32(0):
                    high = top[i] * unit if MASK is None else top[i]
                    lse[batch, head, row0 + row] = (high + ptx.log2(sums)) * F32(LN2)
                at = (queries + row) * H + I64(tx * 4)
                for j in range(CT // 4):
                    if H == W or tx * 4 + 32 * j < H:
                        y = i * CT + 4 * j
                        ptx.store4(
                            out, at + 32 * j,
                            O[y] * share, O[y + 1] * share, O[y + 2] * share, O[y + 3] * share,
                        )  # fmt: skip

    return flash_queries_outside


def best_tile(H):
    """The tile for rows of width H: as many outputs and scores as a thread's registers hold."""
    if H <= 64:
        return Tile(warps=4, rows=8, keys=64, blocks=2)
    return Tile(warps=8 if H <= 128 else 4, rows=4, keys=32, blocks=1)


def run_fp32(q, k, v, mask, kind, out, lse, unit, causal, tile=None):
    """Launch the third rung."""
    B, heads, L, H = q.shape
    tile = tile or best_tile(H)
    kernel = queries_outside(H, tile, causal, kind)
    grid = B * heads * ceil_div(L, tile.queries)
    kernel[grid, 32 * tile.warps, None, tile.shared(H)](q, k, v, mask, out, lse, unit)
