"""FlashAttention's backward pass, the second rung: all products on the tensor cores, 16-bit inputs.

The division of work is that of the rung before: a block owns a tile of keys or of queries, a warp
16 or 32 rows of it. What is new:

- The layout of scores that come out of a product is that of the left operand of the next one, two
  tiles of 16 x 8 making one of 16 x 16. So P and dS, rounded to 16 bits, never leave the registers;
  but rows of P must be rows of the sum, which for dV = P^T dO are keys. Therefore the key pass
  makes its scores transposed, S^T = K Q^T, and the query pass makes them upright, S = Q K^T.
- The rows of one tile play two parts: right operand of the scores as they lie (ldmatrix), and of
  the sums transposed (ldmatrix.trans), from the same place in shared memory.
- Tiles are copied ahead by one (cp.async), which leaves one barrier a tile.

Of the key pass's registers most hold sums: 2 x 16 x H numbers for 16 keys, a lane's share of which
is H. At H = 128 that is half of what a thread may have, at H = 256 all: there two blocks share the
columns of dK and dV, and both make the scores.
"""

import functools
import typing

import numpy as np

from kernels import cuda, ptx
from kernels._flash_backward import fetching, key_tools, query_tools, writing
from kernels._host import ceil_div


class Tiles(typing.NamedTuple):
    """How a tensor-core pass is cut up. A block owns 16 * warps * height rows of one side and goes
    over the other side ``step`` rows at a time."""

    warps: int
    height: int  # matrices of 16 rows that a warp owns
    step: int
    keep: bool  # whether a warp's own rows wait in registers rather than in shared memory
    blocks: int  # that a multiprocessor should have room for
    parts: int = 1  # blocks that share the columns of dK and dV

    @property
    def rows(self):
        """Rows that a block owns."""
        return 16 * self.warps * self.height

    @property
    def threads(self):
        """Threads of a block."""
        return 32 * self.warps

    def shared(self, H):
        """Bytes of dynamic shared memory: two matrices of rows that the block owns, and two of the
        other side, twice."""
        return 2 * 2 * padded(H) * (self.rows + 2 * self.step)


def padded(H):
    """The width that rows have in shared memory: a multiple of 32, and above 128 the whole 256."""
    return 32 * ceil_div(H, 32) if H <= 128 else 256


def span(W):
    """How many times 16 columns of a row it takes until the twist begins again."""
    return 4 if W % 64 == 0 else 2


@functools.cache
def twisting(W):
    """Device function: which chunks of 16 bytes change places in a row, so that eight rows of one
    chunk lie in eight different groups of four banks."""
    SHIFT, BITS = (0, 7) if W % 64 == 0 else (1, 3)

    @cuda.jit(device=True)
    def twist(row):
        return (row >> SHIFT) & BITS

    return twist


@functools.cache
def warp_tools(W, KIND, TILES):
    """Device functions of a warp: (lie, hold, scores, mix).

    A lane reads its 16 bytes of the d-th 16 x 16 matrix of a row from ``at[d]`` on, where the twist
    repeats after SPAN of them, and ``aside`` further on where rows play the part of the right
    operand: its two registers for the first 8 rows then come one after the other, as ``mma`` wants.
    """
    SPAN = span(W)
    M, N, COLS, DEEP = TILES.height, TILES.step, W // TILES.parts, W // 16
    KEEP = TILES.keep
    mma = ptx.mma_bf16 if KIND == "bfloat16" else ptx.mma_f16

    twist = twisting(W)

    @cuda.jit(device=True)
    def lie(at, lane):
        # Where matrices lie for this lane; gives ``aside``.
        row = lane % 16
        for d in range(SPAN):
            at[d] = np.int32(row * W + (((2 * d + lane // 16) ^ twist(row)) << 3))
        row = lane // 16 * 8 + lane % 8
        return np.int32(row * W + ((lane // 8 % 2 ^ twist(row)) << 3)) - at[0]

    @cuda.jit(device=True)
    def product(c, at, a0, a1, a2, a3, b0, b1):
        c[at], c[at + 1], c[at + 2], c[at + 3] = mma(
            a0, a1, a2, a3, b0, b1, c[at], c[at + 1], c[at + 2], c[at + 3]
        )

    @cuda.jit(device=True)
    def hold(tile, own, at, held):
        # Own rows into registers.
        for d in range(DEEP):
            for m in range(M):
                i = (d * M + m) * 4
                held[i], held[i + 1], held[i + 2], held[i + 3] = ptx.ldmatrix_x4(
                    tile, own + m * 16 * W + at[d % SPAN] + d // SPAN * 16 * SPAN
                )

    @cuda.jit(device=True)
    def scores(tile, own, held, other, at, aside, sums):
        # (16 M, N) products of own rows with the other side's rows.
        for i in range(M * N // 2):
            sums[i] = 0.0
        for d in range(DEEP):
            for m in range(M):
                if KEEP:
                    a0, a1 = held[(d * M + m) * 4], held[(d * M + m) * 4 + 1]
                    a2, a3 = held[(d * M + m) * 4 + 2], held[(d * M + m) * 4 + 3]
                else:
                    a0, a1, a2, a3 = ptx.ldmatrix_x4(
                        tile, own + m * 16 * W + at[d % SPAN] + d // SPAN * 16 * SPAN
                    )
                for j in range(N // 16):
                    b0, b1, b2, b3 = ptx.ldmatrix_x4(
                        tile, other + aside + j * 16 * W + at[d % SPAN] + d // SPAN * 16 * SPAN
                    )
                    product(sums, (m * N // 8 + 2 * j) * 4, a0, a1, a2, a3, b0, b1)
                    product(sums, (m * N // 8 + 2 * j + 1) * 4, a0, a1, a2, a3, b2, b3)

    @cuda.jit(device=True)
    def mix(tile, p, other, at, sums):
        # Add to sums (16 M, COLS) the other side's rows, weighted by p (16 M, N).
        for c in range(COLS // 16):
            for j in range(N // 16):
                b0, b1, b2, b3 = ptx.ldmatrix_x4_trans(
                    tile, other + j * 16 * W + at[c % SPAN] + c // SPAN * 16 * SPAN
                )
                for m in range(M):
                    i, to = (m * N // 8 + 2 * j) * 2, (m * COLS // 8 + 2 * c) * 4
                    product(sums, to, p[i], p[i + 1], p[i + 2], p[i + 3], b0, b1)
                    product(sums, to + 4, p[i], p[i + 1], p[i + 2], p[i + 3], b2, b3)

    return lie, hold, scores, mix


@functools.cache
def key_pass(H, KIND, TILES, CAUSAL, MASK):
    """Kernel: dK and dV of the keys that a block owns.

    It goes over the queries of all heads that read its keys. Scores are made transposed, S^T = K
    Q^T: what a lane holds of P^T and dS^T then is, rounded and packed, just what it has to hold of
    the left operand in dV = P^T dO and dK = dS^T Q, and never leaves its registers.
    """
    W = padded(H)
    M, N, KEEP, PARTS = TILES.height, TILES.step, TILES.keep, TILES.parts
    ROWS, THREADS, COLUMNS, SPAN = TILES.rows, TILES.threads, W // TILES.parts, span(W)
    V_AT, STAGE_AT, STAGE = ROWS * W, 2 * ROWS * W, 2 * N * W
    HELD = M * W // 4 if KEEP else 1
    fetch_own = fetching(H, W, W, 8, ROWS, THREADS, twisting(W))
    fetch = fetching(H, W, W, 8, N, THREADS, twisting(W))
    lie, hold, scores, mix = warp_tools(W, KIND, TILES)
    see, hide, weigh, slope = key_tools(M, N, KIND, MASK)
    write = writing(M, COLUMNS, H, KIND)

    @cuda.jit(device=True)
    def begin(tile, numbers, stage, q, dout, stats, plane, query, t):
        # Copy a tile of queries: Q, dO and their statistics.
        L, to = q.shape[2], STAGE_AT + stage * STAGE
        fetch(tile, to, q, (plane * L + query) * H, L - query, t)
        fetch(tile, to + N * W, dout, (plane * L + query) * H, L - query, t)
        if t < N // 2:
            source = (t // (N // 4) * stats.shape[1] + plane) * stats.shape[2] + query
            ptx.cp_async16(numbers, stage * (2 * N) + t * 4, stats, source + t % (N // 4) * 4, 16)
        ptx.cp_async_commit()

    @cuda.jit(launch_bounds=(THREADS, TILES.blocks))
    def keys(q, k, v, dout, stats, mask, dk, dv, scale2, scale):
        tile = cuda.shared.array(0, np.uint16, alignment=16)  # K, V, twice (Q, dO)
        numbers = cuda.shared.array(4 * N, np.float32, alignment=16)  # twice (lse, delta)
        t = np.uint32(cuda.threadIdx.x)
        lane, warp = t % 32, t // 32
        L, S, n_h, group = q.shape[2], k.shape[2], q.shape[1], q.shape[1] // k.shape[1]
        b, shared_head = np.int64(cuda.blockIdx.z), np.int64(cuda.blockIdx.y)
        first_key, part = np.int64(cuda.blockIdx.x // PARTS) * ROWS, cuda.blockIdx.x % PARTS
        own = ((b * k.shape[1] + shared_head) * S + first_key) * H
        fetch_own(tile, 0, k, own, S - first_key, t)
        fetch_own(tile, V_AT, v, own, S - first_key, t)

        at = cuda.local.array(SPAN, np.int32)
        aside = lie(at, lane)
        mine = warp * (16 * M * W)
        held_k, held_v = cuda.local.array(HELD, np.uint32), cuda.local.array(HELD, np.uint32)
        s, ds = cuda.local.array(M * N // 2, np.float32), cuda.local.array(M * N // 2, np.float32)
        p = cuda.local.array(M * N // 4, np.uint32)
        sum_k = cuda.local.array(M * COLUMNS // 2, np.float32)
        sum_v = cuda.local.array(M * COLUMNS // 2, np.float32)
        for i in range(M * COLUMNS // 2):
            sum_k[i] = 0.0
            sum_v[i] = 0.0
        unit = np.float32(1)
        if MASK == "none":
            unit = scale2

        row, column = np.int32(warp * (16 * M) + lane // 4), np.int32(2 * (lane % 4))
        from_query = np.int64(0)
        if CAUSAL:  # queries before this one see none of the keys
            from_query = max(0, first_key + L - S) // N * N
        next_head, next_query = shared_head * group, from_query
        head, query = next_head, next_query
        steps = group * ((L - from_query + N - 1) // N)
        for step in range(steps + 1):
            ptx.cp_async_wait0()
            cuda.syncthreads()
            if step < steps:  # copy a tile while the one before is worked on
                plane = b * n_h + next_head
                begin(tile, numbers, step % 2, q, dout, stats, plane, next_query, t)
            if step > 0:
                stage = (step - 1) % 2
                q_at, lse_at = STAGE_AT + stage * STAGE, stage * (2 * N) + column
                if KEEP and step == 1:
                    hold(tile, mine, at, held_k)
                    hold(tile, V_AT + mine, at, held_v)
                scores(tile, mine, held_k, q_at, at, aside, s)  # S^T = K Q^T
                scores(tile, V_AT + mine, held_v, q_at + N * W, at, aside, ds)  # dP^T = V dO^T
                if MASK != "none":
                    see(s, mask, b, head, first_key + row, query + column, scale2)
                if CAUSAL and query + S - L < first_key + ROWS - 1:
                    hide(s, np.int32(query + S - L - first_key) + column - row)
                weigh(s, p, numbers, lse_at, unit)
                mix(tile, p, q_at + N * W + part * COLUMNS, at, sum_v)  # dV += P^T dO
                slope(s, ds, p, numbers, lse_at + N)
                mix(tile, p, q_at + part * COLUMNS, at, sum_k)  # dK += dS^T Q
            head, query = next_head, next_query
            next_query += N
            if next_query >= L:
                next_head, next_query = next_head + 1, from_query

        rows, column = S - first_key - row, part * COLUMNS + column
        write(dk, own + row * H + column, rows, H - column, sum_k, scale)
        write(dv, own + row * H + column, rows, H - column, sum_v, np.float32(1))

    return keys


@functools.cache
def query_pass(H, KIND, TILES, CAUSAL, MASK):
    """Kernel: dQ of the queries that a block owns; it goes over the keys that they see."""
    W = padded(H)
    M, N, KEEP = TILES.height, TILES.step, TILES.keep
    ROWS, THREADS, SPAN = TILES.rows, TILES.threads, span(W)
    G_AT, STAGE_AT, STAGE = ROWS * W, 2 * ROWS * W, 2 * N * W
    HELD = M * W // 4 if KEEP else 1
    fetch_own = fetching(H, W, W, 8, ROWS, THREADS, twisting(W))
    fetch = fetching(H, W, W, 8, N, THREADS, twisting(W))
    lie, hold, scores, mix = warp_tools(W, KIND, TILES)
    see, hide, weigh, slope = query_tools(M, N, KIND, MASK)
    write = writing(M, W, H, KIND)

    @cuda.jit(launch_bounds=(THREADS, TILES.blocks))
    def queries(q, k, v, dout, stats, mask, dq, scale2, scale):
        tile = cuda.shared.array(0, np.uint16, alignment=16)  # Q, dO, twice (K, V)
        t = np.uint32(cuda.threadIdx.x)
        lane, warp = t % 32, t // 32
        L, S, n_h, group = q.shape[2], k.shape[2], q.shape[1], q.shape[1] // k.shape[1]
        # With a causal mask the last queries see the most keys: their blocks begin first.
        first_query = np.int64(cuda.gridDim.x - 1 - cuda.blockIdx.x) * ROWS
        b, head = np.int64(cuda.blockIdx.z), np.int64(cuda.blockIdx.y)
        own = ((b * n_h + head) * L + first_query) * H
        shared = (b * k.shape[1] + head // group) * S
        seen, all_see = S, S  # keys that some, and that all of the queries see
        if CAUSAL:
            seen = max(min(S, first_query + ROWS + S - L), 0)
            all_see = min(S, first_query + 1 + S - L)
        if seen > 0:
            fetch_own(tile, 0, q, own, L - first_query, t)
            fetch_own(tile, G_AT, dout, own, L - first_query, t)

        at = cuda.local.array(SPAN, np.int32)
        aside = lie(at, lane)
        mine = warp * (16 * M * W)
        held_q, held_g = cuda.local.array(HELD, np.uint32), cuda.local.array(HELD, np.uint32)
        s, ds = cuda.local.array(M * N // 2, np.float32), cuda.local.array(M * N // 2, np.float32)
        p = cuda.local.array(M * N // 4, np.uint32)
        sums = cuda.local.array(M * W // 2, np.float32)
        for i in range(M * W // 2):
            sums[i] = 0.0
        unit = np.float32(1)
        if MASK == "none":
            unit = scale2
        query, column = first_query + warp * (16 * M) + lane // 4, 2 * np.int64(lane % 4)
        lse, delta = cuda.local.array(2 * M, np.float32), cuda.local.array(2 * M, np.float32)
        sees = cuda.local.array(2 * M, np.int32)  # keys that a row sees, from ``column`` on
        for i in range(2 * M):
            lse[i] = stats[0, b * n_h + head, query + i * 8]
            delta[i] = stats[1, b * n_h + head, query + i * 8]
            sees[i] = np.int32(S - column)
            if CAUSAL:
                sees[i] = np.int32(min(S, query + i * 8 + 1 + S - L) - column)

        for step in range((seen + N - 1) // N + 1):
            ptx.cp_async_wait0()
            cuda.syncthreads()
            key = step * N
            if key < seen:  # copy a tile while the one before is worked on
                to = STAGE_AT + step % 2 * STAGE
                fetch(tile, to, k, (shared + key) * H, S - key, t)
                fetch(tile, to + N * W, v, (shared + key) * H, S - key, t)
                ptx.cp_async_commit()
            if step > 0:
                key -= N
                k_at = STAGE_AT + (step - 1) % 2 * STAGE
                if KEEP and step == 1:
                    hold(tile, mine, at, held_q)
                    hold(tile, G_AT + mine, at, held_g)
                scores(tile, mine, held_q, k_at, at, aside, s)  # S = Q K^T
                scores(tile, G_AT + mine, held_g, k_at + N * W, at, aside, ds)  # dP = dO V^T
                if MASK != "none":
                    see(s, mask, b, head, query, key + column, scale2)
                if key + N > all_see:
                    hide(s, sees, key)
                weigh(s, lse, unit)
                slope(s, ds, p, delta)
                mix(tile, p, k_at, at, sums)  # dQ += dS K

        to = own + (query - first_query) * H + column
        write(dq, to, L - query, H - column, sums, scale)

    return queries
