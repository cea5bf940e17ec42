"""FlashAttention's forward pass, the fifth rung: ideas of the third FlashAttention, for compute
capability 9.0 alone. Nobody waits for what can go on by itself.

- ``wgmma`` multiplies for four warps straight from shared memory, only the weights coming from
  registers, and runs on meanwhile; ``mma`` reaches 5/8 of the tensor cores' speed.
- The copy engine brings tiles, with zeros beyond the edges; one thread asks for them. An mbarrier
  for each tile tells when it is there, another when all have done with it, and no barrier stops the
  block.
- Softmax hides behind products. In one step of the loop the scores of tile n and the outputs of
  tile n - 1 are asked for at once; the exponentials of tile n are made while those outputs are:

      tensor cores:   Q K_n   P_{n-1} V_{n-1}            Q K_{n+1}   P_n V_n
      other units:            softmax of Q K_n           softmax of Q K_{n+1}

Predicted: 1.5 times the rung before, at H = 64 less, where exponentials take as long as products.
"""

import functools
from typing import NamedTuple

import numpy as np

from kernels import cuda, hopper, ptx
from kernels._host import ceil_div
from kernels._tensor_tiles import quad_transpose
from kernels.flash_forward_first import ALL, LN2, NEVER, masked

F32, I32, I64, U32 = np.float32, np.int32, np.int64, np.uint32
LINE = 64  # elements in a line of 128 bytes of a swizzled tile
WORD = 4  # elements of 16 bits in an mbarrier


class Tile(NamedTuple):
    """Warpgroups a block, each with 64 queries; keys of a tile; tiles each of K and V in shared
    memory at a time; blocks that a multiprocessor should hold."""

    groups: int
    keys: int
    stages: int
    blocks: int

    @property
    def rows(self):
        """Queries of a block."""
        return 64 * self.groups

    def shared(self, H):
        """Bytes of shared memory: Q, tiles of K and V, and the barriers."""
        numbers = (self.rows + 2 * self.stages * self.keys) * lines(H)
        return 2 * (numbers + WORD * (1 + 4 * self.stages))


def lines(H):
    """The width that rows have in shared memory: whole lines. A matrix lies there as tiles 64
    columns wide, one behind the other."""
    return LINE * ceil_div(H, LINE)


@functools.cache
def products(H, TILE, DTYPE):
    """Device functions of a warpgroup, which begin a product and end its group: (scores, add)."""
    W, N, ROWS = lines(H), TILE.keys, TILE.rows
    start, go_on = (hopper.wgmma(DTYPE, N, True, True, fresh=fresh) for fresh in (True, False))
    held = hopper.wgmma_held(DTYPE, W, False, 2 * N * LINE)
    # Left to itself, the compiler would make a loop of the instructions and wait in each round.

    @cuda.jit(device=True)
    def scores(S, shared, query, key):
        # S (64, N) = Q (64, H) Kᵀ
        start(S, shared, query, shared, key)
        for d in cuda.unroll(1, W // 16):
            a, b = d // 4 * (ROWS * LINE) + d % 4 * 16, d // 4 * (N * LINE) + d % 4 * 16
            go_on(S, shared, U32(query + U32(a)), shared, U32(key + U32(b)))
        hopper.wgmma_commit()

    @cuda.jit(device=True)
    def add(O, P, shared, value):
        # O (64, H) += P (64, N) V
        for j in cuda.unroll(N // 16):
            at = U32(value + U32(j * 16 * LINE))
            held(O, P[4 * j], P[4 * j + 1], P[4 * j + 2], P[4 * j + 3], shared, at)
        hopper.wgmma_commit()

    return scores, add


@functools.cache
def rows_of_a_lane(W, N, DTYPE):
    """Device functions for the two rows that a lane shares with three others: (hide, weigh,
    pass_on, rescale).

    Of row ``half``, S has numbers 4 j + 2 half and the next, columns 8 j + 2 (lane mod 4) and the
    next; O likewise.
    """
    pack = ptx.pack_bf16 if DTYPE == "bfloat16" else ptx.pack_f16

    @cuda.jit(device=True)
    def hide(S, half, seen):
        # The keys from ``seen`` on, counted from this lane's first, are not for this row.
        for j in range(N // 8):
            for e in range(2):
                if I32(8 * j + e) >= seen:
                    S[4 * j + 2 * half + e] = NEVER

    @cuda.jit(device=True)
    def weigh(S, top, total, keep, half, unit):
        # Scores become weights; ``keep`` is what all that was summed before is worth now.
        new = top[half]
        for j in range(N // 8):
            new = max(new, S[4 * j + 2 * half])
            new = max(new, S[4 * j + 2 * half + 1])
        new = max(new, cuda.shfl_xor_sync(ALL, new, 1))
        new = max(new, cuda.shfl_xor_sync(ALL, new, 2))
        base = new * unit if new > NEVER else F32(0)
        keep[half] = ptx.exp2(top[half] * unit - base)
        top[half] = new
        total[half] *= keep[half]
        for j in range(N // 8):
            for e in range(2):
                s = 4 * j + 2 * half + e
                S[s] = ptx.exp2(S[s] * unit - base)
                total[half] += S[s]

    @cuda.jit(device=True)
    def pass_on(S, P):
        # Weights, rounded to 16 bits, as the left operand of the second product.
        for j in range(N // 4):
            P[j] = pack(S[2 * j], S[2 * j + 1])

    @cuda.jit(device=True)
    def rescale(O, keep):
        for i in cuda.unroll(W // 2):
            O[i] *= keep[i // 2 % 2]

    return hide, weigh, pass_on, rescale


@functools.cache
def asynchronous(H, TILE, CAUSAL, MASK, DTYPE):
    """Kernel: a block for TILE.rows queries; the whole pass."""
    W, N, ROWS, STAGES, THREADS = lines(H), TILE.keys, TILE.rows, TILE.stages, 128 * TILE.groups
    COLUMNS, PIECE = W // LINE, N * W  # tiles of a matrix; elements of a tile of keys
    WARPS = 4 * TILE.groups
    KEYS, VALUES = ROWS * W, ROWS * W + STAGES * PIECE  # places in shared memory
    QUERY = VALUES + STAGES * PIECE  # barriers, of WORD elements each
    KEY, VALUE = QUERY + WORD, QUERY + WORD * (1 + STAGES)
    KEY_DONE, VALUE_DONE = VALUE + WORD * STAGES, VALUE + 2 * WORD * STAGES
    scores, add = products(H, TILE, DTYPE)
    hide, weigh, pass_on, rescale = rows_of_a_lane(W, N, DTYPE)
    all_but_one, scores_wait = hopper.wgmma_groups(N // 2)
    _, outputs_wait = hopper.wgmma_groups(W // 2)
    pack = ptx.pack_bf16 if DTYPE == "bfloat16" else ptx.pack_f16
    after_mask = masked(MASK)

    @cuda.jit(device=True)
    def fetch(shared, pieces, barriers, source, plane, n):
        # One thread: begin to copy tile n of keys or values.
        stage = U32(n % STAGES)
        to, barrier = U32(pieces) + stage * U32(PIECE), U32(barriers) + stage * U32(WORD)
        hopper.barrier_expect(shared, barrier, 2 * PIECE)
        for c in range(COLUMNS):
            place, column = to + U32(c * N * LINE), U32(c * LINE)
            hopper.copy_box(
                shared, place, source, 0, column, U32(n * N), plane, shared, barrier, N, LINE
            )

    @cuda.jit(device=True)
    def begin(shared, q, k, v, row0, plane, shared_plane, end):
        # One thread: make the barriers, and ask for the queries and the first tiles.
        for i in range(1 + 2 * STAGES):
            hopper.barrier_init(shared, U32(QUERY + WORD * i), 1)
        for i in range(2 * STAGES):
            hopper.barrier_init(shared, U32(KEY_DONE + WORD * i), WARPS)
        hopper.fence_async()
        hopper.fence_map(q, 0)
        hopper.fence_map(k, 0)
        hopper.fence_map(v, 0)
        hopper.barrier_expect(shared, U32(QUERY), 2 * ROWS * W)
        for c in range(COLUMNS):
            place, column = U32(c * ROWS * LINE), U32(c * LINE)
            hopper.copy_box(
                shared, place, q, 0, column, U32(row0), plane, shared, U32(QUERY), ROWS, LINE
            )
        for n in range(min(STAGES, end)):
            fetch(shared, KEYS, KEY, k, shared_plane, n)
            fetch(shared, VALUES, VALUE, v, shared_plane, n)

    @cuda.jit(device=True)
    def refill(shared, pieces, barriers, done, source, plane, n, end):
        # One thread: when all have done with tile n, copy another into its place.
        if n >= 0 and n + STAGES < end:
            stage, phase = U32(n % STAGES), U32(n // STAGES % 2)
            hopper.barrier_wait(shared, U32(done) + stage * U32(WORD), phase)
            fetch(shared, pieces, barriers, source, plane, n + STAGES)

    @cuda.jit(device=True)
    def await_tile(shared, barriers, n):
        stage, phase = U32(n % STAGES), U32(n // STAGES % 2)
        hopper.barrier_wait(shared, U32(barriers) + stage * U32(WORD), phase)

    @cuda.jit(device=True)
    def softmax(S, top, total, keep, mask, batch, head, row, column, key, L, S_, all_see, unit):
        # Scores of the keys from ``key`` on become weights.
        if MASK is not None:
            for half in range(2):
                for j in range(N // 8):
                    for e in range(2):
                        x, i, s = 4 * j + 2 * half + e, row + 8 * half, key + column + 8 * j + e
                        if i < L and s < S_:
                            S[x] = after_mask(S[x] * unit, mask, batch, head, i, s)
        if key + N > all_see:
            for half in range(2):
                seen = S_ - key - column
                if CAUSAL:
                    seen = min(S_, row + 8 * half + S_ - L + 1) - key - column
                hide(S, half, I32(seen))
        for half in range(2):
            weigh(S, top, total, keep, half, unit if MASK is None else F32(1))

    @cuda.jit(archs=(cuda.SM90A,), launch_bounds=(THREADS, TILE.blocks), fastmath=False)
    def flash_asynchronous(q, k, v, mask, out, lse, L, S, heads, sharing, unit):
        shared = cuda.shared.array(0, np.uint16, alignment=1024)
        thread, L, S = U32(cuda.threadIdx.x), I32(L), I32(S)
        lane = U32(thread % 32)
        tiles = U32(U32(L + ROWS - 1) // U32(ROWS))
        plane = U32(U32(cuda.blockIdx.x) // tiles)
        tile = U32(U32(cuda.blockIdx.x) - plane * tiles)
        if CAUSAL:
            tile = U32(tiles - U32(1) - tile)  # the longest first
        batch, head = U32(plane // heads), U32(plane % heads)
        group_plane, row0 = U32(plane // sharing), I32(tile * ROWS)
        end, all_see = I32(U32(S + N - 1) // U32(N)), S
        if CAUSAL:
            seen = I32(min(I32(row0 + ROWS), L) + S - L)
            end = I32(min(end, (seen + N - 1) // N))
            all_see = I32(min(S, row0 + 1 + S - L))  # keys that all queries see
        if thread == U32(0) and end > 0:
            begin(shared, q, k, v, row0, plane, group_plane, end)
        cuda.syncthreads()  # the barriers are there
        # The compiler should see that this is the same in all lanes.
        group = U32(cuda.shfl_sync(ALL, I32(thread // 128), 0))
        mine = U32(group * (64 * LINE))
        P = cuda.local.array(N // 4, np.uint32)
        weights, O = cuda.local.array(N // 2, np.float32), cuda.local.array(W // 2, np.float32)
        top, total = cuda.local.array(2, np.float32), cuda.local.array(2, np.float32)
        keep = cuda.local.array(2, np.float32)
        for i in cuda.unroll(W // 2):
            O[i] = 0.0
        for i in range(2):
            top[i], total[i] = NEVER, F32(0)
        row, column = I32(row0 + I32(thread // 32 * 16 + lane // 4)), I32(lane % 4 * 2)
        if end > 0:
            hopper.barrier_wait(shared, U32(QUERY), 0)
            await_tile(shared, KEY, 0)
            hopper.wgmma_fence()
            scores(weights, shared, mine, U32(KEYS))
            scores_wait(weights)
            if lane == U32(0):
                hopper.barrier_arrive(shared, U32(KEY_DONE))
            softmax(
                weights, top, total, keep, mask, batch, head, row, column, 0, L, S, all_see, unit
            )
            pass_on(weights, P)
            for n in range(1, end):
                before = n - 1
                stage, last = U32(n % STAGES), U32(before % STAGES)
                await_tile(shared, KEY, n)
                hopper.wgmma_fence()
                scores(weights, shared, mine, U32(U32(KEYS) + stage * U32(PIECE)))
                await_tile(shared, VALUE, before)
                add(O, P, shared, U32(U32(VALUES) + last * U32(PIECE)))
                if thread == U32(0):
                    refill(shared, KEYS, KEY, KEY_DONE, k, group_plane, before, end)
                    refill(shared, VALUES, VALUE, VALUE_DONE, v, group_plane, n - 2, end)
                all_but_one(weights)
                if lane == U32(0):
                    hopper.barrier_arrive(shared, U32(U32(KEY_DONE) + stage * U32(WORD)))
                softmax(
                    weights, top, total, keep,
                    mask, batch, head, row, column, n * N, L, S, all_see, unit,
                )  # fmt: skip
                outputs_wait(O)
                if lane == U32(0):
                    hopper.barrier_arrive(shared, U32(U32(VALUE_DONE) + last * U32(WORD)))
                rescale(O, keep)
                pass_on(weights, P)
            await_tile(shared, VALUE, end - 1)
            hopper.wgmma_fence()
            add(O, P, shared, U32(U32(VALUES) + U32((end - 1) % STAGES) * U32(PIECE)))
            outputs_wait(O)
        for half in range(2):
            sums, at = total[half], I32(row + 8 * half)
            sums += cuda.shfl_xor_sync(ALL, sums, 1)
            sums += cuda.shfl_xor_sync(ALL, sums, 2)
            share = ptx.reciprocal(sums) if sums > F32(0) else F32(0)
            if column == 0 and at < L:
                high = top[half] * unit if MASK is None else top[half]
                lse[batch, head, at] = (high + ptx.log2(sums)) * F32(LN2)
            begin_at = (I64(plane) * L + at) * H
            for d in cuda.unroll(0, W // 8, 4):
                x = 4 * d + 2 * half
                a, b, c, e = quad_transpose(
                    U32(lane % 4),
                    pack(O[x] * share, O[x + 1] * share),
                    pack(O[x + 4] * share, O[x + 5] * share),
                    pack(O[x + 8] * share, O[x + 9] * share),
                    pack(O[x + 12] * share, O[x + 13] * share),
                )
                wide = I32(8 * d) + 4 * column
                if at < L and (H == W or wide < H):
                    ptx.store_words(out, begin_at + wide, a, b, c, e)

    return flash_asynchronous


def best_tile(H):
    """The tile for rows of width H."""
    if H <= 64:
        return Tile(groups=1, keys=128, stages=2, blocks=3)
    if H <= 128:
        return Tile(groups=2, keys=128, stages=2, blocks=1)
    return Tile(groups=2, keys=64, stages=2, blocks=1)


def run_asynchronous(q, k, v, mask, kind, out, lse, unit, causal, tile=None):
    """Launch the fifth rung."""
    B, heads, L, H = q.shape
    tile, S, groups = tile or best_tile(H), k.shape[2], k.shape[1]
    kernel = asynchronous(H, tile, causal, kind, q.dtype.name)
    maps = [
        hopper.tensor_map(each.view(np.uint16).reshape(-1, each.shape[2], H), rows)
        for each, rows in ((q, tile.rows), (k, tile.keys), (v, tile.keys))
    ]
    grid = B * heads * ceil_div(L, tile.rows)
    kernel[grid, 128 * tile.groups, None, tile.shared(H)](
        *maps, mask, out, lse, U32(L), U32(S), U32(heads), U32(heads // groups), unit
    )
