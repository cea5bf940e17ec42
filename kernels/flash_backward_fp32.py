"""FlashAttention's backward pass, the first rung: in float32, by patches of registers.

A block owns a tile of keys (for dK and dV) or of queries (for dQ) and keeps it, and the sums that
belong to it, for good; tiles of the other side pass by in shared memory. Each is met four times:

    scores    S and dP, a patch of high x wide numbers in the registers of each thread
    weights   P and dS of that patch, written to shared memory
    sums      P^T dO and dS^T Q, or dS K: each thread makes ``high`` rows of some columns

P and dS have to change hands, for a thread that made a patch of them needs whole rows of them next.
An L x S array exists nowhere; of a tile, P is gone when the next one comes.

7 L S H multiply-adds a head, on units that make 128 of them a cycle in each multiprocessor, while
shared memory gives 32 numbers a cycle: a number that is loaded should serve 4 products. In patches
of 4 x 4 it serves 2, in patches of 8 x 4 2.7, for which 2/3 of the peak are predicted at best.
"""

import functools
import typing

import numpy as np

from kernels import cuda, ptx
from kernels._flash_backward import NEVER, fetching, masking, untwisted
from kernels._host import ceil_div


class Patches(typing.NamedTuple):
    """How a float32 pass is cut up: down x across threads, each of which makes a patch of high x
    wide scores, of ``high`` rows that the block owns and ``wide`` rows of the other side."""

    down: int
    across: int
    high: int
    wide: int
    blocks: int  # that a multiprocessor should have room for
    parts = 1

    @property
    def rows(self):
        """Rows that a block owns."""
        return self.down * self.high

    @property
    def step(self):
        """Rows of the other side that it looks at together."""
        return self.across * self.wide

    @property
    def threads(self):
        """Threads of a block."""
        return self.down * self.across

    def width(self, H):
        """The width that rows have in shared memory, so that each thread has whole columns of 4."""
        return 4 * self.across * ceil_div(H, 4 * self.across)

    def shared(self, H):
        """Bytes of dynamic shared memory: two matrices of either side's rows, two of scores."""
        return 8 * ((self.rows + self.step) * (self.width(H) + 4) + self.rows * (self.step + 4))


@functools.cache
def patch_tools(H, PATCHES):
    """Device functions of the float32 passes: (fetch_own, fetch, dots, mix).

    Rows in shared memory begin 4 numbers further apart than they need to, so that equal columns of
    8 rows lie in different banks. For 4 products of each score a thread loads high + wide times 16
    bytes: the larger its patch, the less of its time is loads.
    """
    DOWN, ACROSS, HIGH, WIDE, _ = PATCHES
    W, N = PATCHES.width(H), PATCHES.step
    PITCH, P_PITCH, COLS = W + 4, N + 4, W // (4 * ACROSS)
    fetch_own = fetching(H, W, PITCH, 4, PATCHES.rows, PATCHES.threads, untwisted)
    fetch = fetching(H, W, PITCH, 4, N, PATCHES.threads, untwisted)

    @cuda.jit(device=True)
    def dots(tile, a, b, sums):
        # HIGH x WIDE products of rows a, a + DOWN, ... with rows b, b + ACROSS, ...
        x = cuda.local.array((4 * HIGH,), np.float32)
        for i in range(HIGH * WIDE):
            sums[i] = 0.0
        for d in range(0, W, 4):
            for i in range(HIGH):
                x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3] = ptx.load4_shared(
                    tile, a + i * DOWN * PITCH + d
                )
            for j in range(WIDE):
                y0, y1, y2, y3 = ptx.load4_shared(tile, b + j * ACROSS * PITCH + d)
                for i in range(HIGH):
                    sums[i * WIDE + j] += x[4 * i] * y0
                    sums[i * WIDE + j] += x[4 * i + 1] * y1
                    sums[i * WIDE + j] += x[4 * i + 2] * y2
                    sums[i * WIDE + j] += x[4 * i + 3] * y3

    @cuda.jit(device=True)
    def mix(tile, p, b, sums):
        # Add to HIGH rows of sums: each is a row of weights from p on, times all rows from b on.
        x = cuda.local.array((4 * HIGH,), np.float32)
        for n in range(0, N, 4):
            for i in range(HIGH):
                x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3] = ptx.load4_shared(
                    tile, p + i * DOWN * P_PITCH + n
                )
            for e in range(4):
                for c in range(COLS):
                    y0, y1, y2, y3 = ptx.load4_shared(tile, b + (n + e) * PITCH + c * 4 * ACROSS)
                    for i in range(HIGH):
                        sums[(i * COLS + c) * 4] += x[4 * i + e] * y0
                        sums[(i * COLS + c) * 4 + 1] += x[4 * i + e] * y1
                        sums[(i * COLS + c) * 4 + 2] += x[4 * i + e] * y2
                        sums[(i * COLS + c) * 4 + 3] += x[4 * i + e] * y3

    return fetch_own, fetch, dots, mix


@functools.cache
def key_pass_float32(H, KIND, PATCHES, CAUSAL, MASK):
    """Kernel: dK and dV of the keys that a block owns; it goes over the queries of all heads that
    read its keys. A thread keeps the sums of ``high`` keys in its registers; P^T and dS^T go from
    thread to thread through shared memory.
    """
    DOWN, ACROSS, HIGH, WIDE, BLOCKS = PATCHES
    W, ROWS, N = PATCHES.width(H), PATCHES.rows, PATCHES.step
    PITCH, P_PITCH, COLS = W + 4, N + 4, W // (4 * ACROSS)
    V, Q, G = ROWS * PITCH, 2 * ROWS * PITCH, (2 * ROWS + N) * PITCH
    P, DS = (2 * ROWS + 2 * N) * PITCH, (2 * ROWS + 2 * N) * PITCH + ROWS * P_PITCH
    fetch_own, fetch, dots, mix = patch_tools(H, PATCHES)
    masked = masking(MASK)

    @cuda.jit(launch_bounds=(DOWN * ACROSS, BLOCKS))
    def keys(q, k, v, dout, stats, mask, dk, dv, scale2, scale):
        tile = cuda.shared.array(0, np.float32, alignment=16)  # K, V, Q, dO, P^T, dS^T
        t = np.uint32(cuda.threadIdx.x)
        i0, j0 = t // ACROSS, t % ACROSS  # this thread's first key and query in the tile
        L, S, n_h, group = q.shape[2], k.shape[2], q.shape[1], q.shape[1] // k.shape[1]
        b, shared_head = np.int64(cuda.blockIdx.z), np.int64(cuda.blockIdx.y)
        first_key = np.int64(cuda.blockIdx.x) * ROWS
        own = ((b * k.shape[1] + shared_head) * S + first_key) * H
        fetch_own(tile, 0, k, own, S - first_key, t)
        fetch_own(tile, V, v, own, S - first_key, t)

        s = cuda.local.array((HIGH * WIDE,), np.float32)
        ds = cuda.local.array((HIGH * WIDE,), np.float32)
        sum_k = cuda.local.array((HIGH * COLS * 4,), np.float32)
        sum_v = cuda.local.array((HIGH * COLS * 4,), np.float32)
        for i in range(HIGH * COLS * 4):
            sum_k[i] = 0.0
            sum_v[i] = 0.0
        from_query = 0
        if CAUSAL:  # queries before this one see none of the keys
            from_query = max(0, first_key + L - S) // N * N
        for head in range(shared_head * group, (shared_head + 1) * group):
            for query in range(from_query, L, N):
                row = (b * n_h + head) * L + query
                fetch(tile, Q, q, row * H, L - query, t)
                fetch(tile, G, dout, row * H, L - query, t)
                ptx.cp_async_commit()
                ptx.cp_async_wait0()
                cuda.syncthreads()
                dots(tile, i0 * PITCH, Q + j0 * PITCH, s)  # S^T = K Q^T
                dots(tile, V + i0 * PITCH, G + j0 * PITCH, ds)  # dP^T = V dO^T
                for j in range(WIDE):
                    y = query + j0 + j * ACROSS
                    lse2, delta = stats[0, b * n_h + head, y], stats[1, b * n_h + head, y]
                    for i in range(HIGH):
                        x = first_key + i0 + i * DOWN
                        score = s[i * WIDE + j] * scale2
                        if MASK != "none" and x < S and y < L:
                            score = masked(score, mask[b, head, y, x])
                        if CAUSAL and x > y + S - L:
                            score = NEVER
                        p = ptx.exp2(score - lse2)
                        place = (i0 + i * DOWN) * P_PITCH + j0 + j * ACROSS
                        tile[P + place] = p
                        tile[DS + place] = p * (ds[i * WIDE + j] - delta)
                cuda.syncthreads()
                mix(tile, P + i0 * P_PITCH, G + j0 * 4, sum_v)  # dV += P^T dO
                mix(tile, DS + i0 * P_PITCH, Q + j0 * 4, sum_k)  # dK += dS^T Q
                cuda.syncthreads()

        for i in range(HIGH):
            if first_key + i0 + i * DOWN < S:
                for c in range(COLS):
                    x, at = j0 * 4 + c * 4 * ACROSS, (i * COLS + c) * 4
                    if x < H:
                        to = own + (i0 + i * DOWN) * H + x
                        ptx.store4(dv, to, sum_v[at], sum_v[at + 1], sum_v[at + 2], sum_v[at + 3])
                        ptx.store4(
                            dk, to, sum_k[at] * scale, sum_k[at + 1] * scale,
                            sum_k[at + 2] * scale, sum_k[at + 3] * scale,
                        )  # fmt: skip

    return keys


@functools.cache
def query_pass_float32(H, KIND, PATCHES, CAUSAL, MASK):
    """Kernel: dQ of the queries that a block owns; it goes over the keys that they see."""
    DOWN, ACROSS, HIGH, WIDE, BLOCKS = PATCHES
    W, ROWS, N = PATCHES.width(H), PATCHES.rows, PATCHES.step
    PITCH, P_PITCH, COLS = W + 4, N + 4, W // (4 * ACROSS)
    G, K, V = ROWS * PITCH, 2 * ROWS * PITCH, (2 * ROWS + N) * PITCH
    DS = (2 * ROWS + 2 * N) * PITCH
    fetch_own, fetch, dots, mix = patch_tools(H, PATCHES)
    masked = masking(MASK)

    @cuda.jit(launch_bounds=(DOWN * ACROSS, BLOCKS))
    def queries(q, k, v, dout, stats, mask, dq, scale2, scale):
        tile = cuda.shared.array(0, np.float32, alignment=16)  # Q, dO, K, V, dS
        t = np.uint32(cuda.threadIdx.x)
        i0, j0 = t // ACROSS, t % ACROSS  # this thread's first query and key in the tile
        L, S, n_h, group = q.shape[2], k.shape[2], q.shape[1], q.shape[1] // k.shape[1]
        b, head = np.int64(cuda.blockIdx.z), np.int64(cuda.blockIdx.y)
        # With a causal mask the last queries see the most keys: their blocks begin first.
        first_query = np.int64(cuda.gridDim.x - 1 - cuda.blockIdx.x) * ROWS
        own = ((b * n_h + head) * L + first_query) * H
        shared = (b * k.shape[1] + head // group) * S
        s = cuda.local.array((HIGH * WIDE,), np.float32)
        ds = cuda.local.array((HIGH * WIDE,), np.float32)
        sums = cuda.local.array((HIGH * COLS * 4,), np.float32)
        for i in range(HIGH * COLS * 4):
            sums[i] = 0.0
        seen = S
        if CAUSAL:
            seen = max(min(S, first_query + ROWS + S - L), 0)
        if seen > 0:
            fetch_own(tile, 0, q, own, L - first_query, t)
            fetch_own(tile, G, dout, own, L - first_query, t)
        for key in range(0, seen, N):
            fetch(tile, K, k, (shared + key) * H, S - key, t)
            fetch(tile, V, v, (shared + key) * H, S - key, t)
            ptx.cp_async_commit()
            ptx.cp_async_wait0()
            cuda.syncthreads()
            dots(tile, i0 * PITCH, K + j0 * PITCH, s)  # S = Q K^T
            dots(tile, G + i0 * PITCH, V + j0 * PITCH, ds)  # dP = dO V^T
            for i in range(HIGH):
                y = first_query + i0 + i * DOWN
                lse2, delta = stats[0, b * n_h + head, y], stats[1, b * n_h + head, y]
                last = S
                if CAUSAL:
                    last = min(S, y + 1 + S - L)
                for j in range(WIDE):
                    x = key + j0 + j * ACROSS
                    score = s[i * WIDE + j] * scale2
                    if MASK != "none" and x < S and y < L:
                        score = masked(score, mask[b, head, y, x])
                    if x >= last:
                        score = NEVER
                    p = ptx.exp2(score - lse2)
                    tile[DS + (i0 + i * DOWN) * P_PITCH + j0 + j * ACROSS] = p * (
                        ds[i * WIDE + j] - delta
                    )
            cuda.syncthreads()
            mix(tile, DS + i0 * P_PITCH, K + j0 * 4, sums)  # dQ += dS K
            cuda.syncthreads()

        for i in range(HIGH):
            if first_query + i0 + i * DOWN < L:
                for c in range(COLS):
                    x, at = j0 * 4 + c * 4 * ACROSS, (i * COLS + c) * 4
                    if x < H:
                        to = own + (i0 + i * DOWN) * H + x
                        ptx.store4(
                            dq, to, sums[at] * scale, sums[at + 1] * scale,
                            sums[at + 2] * scale, sums[at + 3] * scale,
                        )  # fmt: skip

    return queries
