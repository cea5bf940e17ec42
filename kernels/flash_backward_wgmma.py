"""FlashAttention's backward pass, the last rung: by wgmma, for compute capability 9.0 alone.

``mma`` reaches 5/8 of what an H100's tensor cores can do, and every warp reads the whole tile of
the other side from shared memory to get there. ``wgmma`` reads it once for four warps, without
their registers, and works on while they do other things: dP is made while exp is taken of S, dV
while dS is, and one warpgroup's products while another waits for its numbers. Of the operands only
P and dS come from registers, where they are anyway. Predicted: 1.4 times the rung before.
"""

import functools
import typing

import numpy as np

from kernels import cuda, hopper, ptx
from kernels._flash_backward import fetching, key_tools, query_tools, writing
from kernels._host import ceil_div

LINE = 64  # elements in a line of 128 bytes of a swizzled tile


class Groups(typing.NamedTuple):
    """How a pass is cut up: a block of ``groups`` warpgroups owns 64 rows for each, and goes over
    the other side ``step`` rows at a time."""

    groups: int
    step: int
    blocks: int  # that a multiprocessor should have room for
    parts = 1

    @property
    def rows(self):
        """Rows that a block owns."""
        return 64 * self.groups

    @property
    def threads(self):
        """Threads of a block."""
        return 128 * self.groups

    def shared(self, H):
        """Bytes of dynamic shared memory: two matrices of rows that the block owns, and two of the
        other side, twice, with their statistics."""
        return 2 * 2 * lines(H) * (self.rows + 2 * self.step) + 4 * 4 * self.step


def lines(H):
    """The width that rows have in shared memory: whole lines."""
    return LINE * ceil_div(H, LINE)


@cuda.jit(device=True)
def swizzled(row):
    """What the chunks of 16 bytes of a line change places by."""
    return row & 7


@functools.cache
def group_tools(W, KIND, GROUPS):
    """Device functions of a warpgroup: (scores, mix), which begin a product and end a group.

    A matrix lies in shared memory as W / 64 tiles of lines, one behind the other.
    """
    N, ROWS = GROUPS.step, GROUPS.rows
    start, go_on = (hopper.wgmma(KIND, N, True, True, fresh=fresh) for fresh in (True, False))
    add = hopper.wgmma_held(KIND, W, False, 2 * N * LINE)

    @cuda.jit(device=True)
    def scores(tile, own, other, sums):
        # (64, N) products of own rows with the other side's rows.
        start(sums, tile, own, tile, other)
        for d in cuda.unroll(1, W // 16):
            a, b = d // 4 * (ROWS * LINE) + d % 4 * 16, d // 4 * (N * LINE) + d % 4 * 16
            go_on(sums, tile, own + a, tile, other + b)
        hopper.wgmma_commit()

    @cuda.jit(device=True)
    def mix(tile, p, other, sums):
        # Add to sums (64, W) the other side's rows, weighted by p (64, N).
        for j in cuda.unroll(N // 16):
            b = other + j * 16 * LINE
            add(sums, p[4 * j], p[4 * j + 1], p[4 * j + 2], p[4 * j + 3], tile, b)
        hopper.wgmma_commit()

    return scores, mix


@functools.cache
def key_pass_wgmma(H, KIND, GROUPS, CAUSAL, MASK):
    """Kernel: dK and dV of the keys that a block owns."""
    W, N, ROWS, THREADS = lines(H), GROUPS.step, GROUPS.rows, GROUPS.threads
    BLOCKS = GROUPS.blocks if MASK == "none" else 1  # a mask's addresses take registers
    V_AT, STAGE_AT, STAGE = ROWS * W, 2 * ROWS * W, 2 * N * W
    NUMBERS = (STAGE_AT + 2 * STAGE) // 2
    fetch_own = fetching(H, W, LINE, 8, ROWS, THREADS, swizzled, ROWS * LINE)
    fetch = fetching(H, W, LINE, 8, N, THREADS, swizzled, N * LINE)
    scores, mix = group_tools(W, KIND, GROUPS)
    all_but_one, _ = hopper.wgmma_groups(N // 2)
    _, all_sums = hopper.wgmma_groups(W // 2)
    see, hide, weigh, slope = key_tools(1, N, KIND, MASK)
    write = writing(1, W, H, KIND)

    @cuda.jit(device=True)
    def begin(tile, numbers, stage, q, dout, stats, plane, query, t):
        # Copy a tile of queries: Q, dO and their statistics.
        L, to = q.shape[2], STAGE_AT + stage * STAGE
        fetch(tile, to, q, (plane * L + query) * H, L - query, t)
        fetch(tile, to + N * W, dout, (plane * L + query) * H, L - query, t)
        if t < N // 2:
            to = NUMBERS + stage * (2 * N) + t * 4
            source = (t // (N // 4) * stats.shape[1] + plane) * stats.shape[2] + query
            ptx.cp_async16(numbers, to, stats, source + t % (N // 4) * 4, 16)
        ptx.cp_async_commit()

    @cuda.jit(archs=(cuda.SM90A,), launch_bounds=(THREADS, BLOCKS))
    def keys(q, k, v, dout, stats, mask, dk, dv, scale2, scale):
        tile = cuda.shared.array(0, np.uint16, alignment=1024)  # K, V, twice (Q, dO)
        numbers = cuda.shared.array(
            0, np.float32
        )  # the same memory: after them, twice (lse, delta)
        t = np.uint32(cuda.threadIdx.x)
        lane, warp = t % 32, t // 32
        L, S, n_h, group = q.shape[2], k.shape[2], q.shape[1], q.shape[1] // k.shape[1]
        b, shared_head = np.int64(cuda.blockIdx.z), np.int64(cuda.blockIdx.y)
        first_key = np.int64(cuda.blockIdx.x) * ROWS
        own = ((b * k.shape[1] + shared_head) * S + first_key) * H
        fetch_own(tile, 0, k, own, S - first_key, t)
        fetch_own(tile, V_AT, v, own, S - first_key, t)

        # The compiler should see that this is the same in all lanes.
        mine = np.uint32(cuda.shfl_sync(0xFFFFFFFF, np.int32(t // 128), 0)) * (64 * LINE)
        s, ds = cuda.local.array(N // 2, np.float32), cuda.local.array(N // 2, np.float32)
        p, slopes = cuda.local.array(N // 4, np.uint32), cuda.local.array(N // 4, np.uint32)
        sum_k, sum_v = cuda.local.array(W // 2, np.float32), cuda.local.array(W // 2, np.float32)
        for i in range(W // 2):
            sum_k[i] = 0.0
            sum_v[i] = 0.0
        unit = np.float32(1)
        if MASK == "none":
            unit = scale2

        row, column = np.int32(warp * 16 + lane // 4), np.int32(2 * (lane % 4))
        from_query = np.int64(0)
        if CAUSAL:  # queries before this one see none of the keys
            from_query = max(0, first_key + L - S) // N * N
        next_head, next_query = shared_head * group, from_query
        head, query = next_head, next_query
        steps = group * ((L - from_query + N - 1) // N)
        for step in range(steps + 1):
            ptx.cp_async_wait0()
            hopper.fence_async()
            cuda.syncthreads()
            if step < steps:  # copy a tile while the one before is worked on
                plane = b * n_h + next_head
                begin(tile, numbers, step % 2, q, dout, stats, plane, next_query, t)
            if step > 0:
                stage = np.uint32(step - 1) % 2
                q_at, lse_at = STAGE_AT + stage * STAGE, NUMBERS + stage * (2 * N) + column
                hopper.wgmma_fence()
                scores(tile, mine, q_at, s)  # S^T = K Q^T
                scores(tile, V_AT + mine, q_at + N * W, ds)  # dP^T = V dO^T
                all_but_one(s)
                if MASK != "none":
                    see(s, mask, b, head, first_key + row, query + column, scale2)
                if CAUSAL and query + S - L < first_key + ROWS - 1:
                    hide(s, np.int32(query + S - L - first_key) + column - row)
                weigh(s, p, numbers, lse_at, unit)
                hopper.wgmma_fence()
                mix(tile, p, q_at + N * W, sum_v)  # dV += P^T dO
                all_but_one(ds)
                slope(s, ds, slopes, numbers, lse_at + N)
                hopper.wgmma_fence()
                mix(tile, slopes, q_at, sum_k)  # dK += dS^T Q
                all_sums(sum_v)
                all_sums(sum_k)
            head, query = next_head, next_query
            next_query += N
            if next_query >= L:
                next_head, next_query = next_head + 1, from_query

        to, rows = own + row * H + column, S - first_key - row
        write(dk, to, rows, H - column, sum_k, scale)
        write(dv, to, rows, H - column, sum_v, np.float32(1))

    return keys


@functools.cache
def query_pass_wgmma(H, KIND, GROUPS, CAUSAL, MASK):
    """Kernel: dQ of the queries that a block owns."""
    W, N, ROWS, THREADS = lines(H), GROUPS.step, GROUPS.rows, GROUPS.threads
    BLOCKS = GROUPS.blocks if MASK == "none" else 1  # a mask's addresses take registers
    G_AT, STAGE_AT, STAGE = ROWS * W, 2 * ROWS * W, 2 * N * W
    fetch_own = fetching(H, W, LINE, 8, ROWS, THREADS, swizzled, ROWS * LINE)
    fetch = fetching(H, W, LINE, 8, N, THREADS, swizzled, N * LINE)
    scores, mix = group_tools(W, KIND, GROUPS)
    all_but_one, all_scores = hopper.wgmma_groups(N // 2)
    _, all_sums = hopper.wgmma_groups(W // 2)
    see, hide, weigh, slope = query_tools(1, N, KIND, MASK)
    write = writing(1, W, H, KIND)

    @cuda.jit(archs=(cuda.SM90A,), launch_bounds=(THREADS, BLOCKS))
    def queries(q, k, v, dout, stats, mask, dq, scale2, scale):
        tile = cuda.shared.array(0, np.uint16, alignment=1024)  # Q, dO, twice (K, V)
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

        mine = np.uint32(cuda.shfl_sync(0xFFFFFFFF, np.int32(t // 128), 0)) * (64 * LINE)
        s, ds = cuda.local.array(N // 2, np.float32), cuda.local.array(N // 2, np.float32)
        p = cuda.local.array(N // 4, np.uint32)
        sums = cuda.local.array(W // 2, np.float32)
        for i in range(W // 2):
            sums[i] = 0.0
        unit = np.float32(1)
        if MASK == "none":
            unit = scale2
        query, column = first_query + warp * 16 + lane // 4, 2 * np.int64(lane % 4)
        lse, delta = cuda.local.array(2, np.float32), cuda.local.array(2, np.float32)
        sees = cuda.local.array(2, np.int32)  # keys that a row sees, from ``column`` on
        for r in range(2):
            lse[r] = stats[0, b * n_h + head, query + r * 8]
            delta[r] = stats[1, b * n_h + head, query + r * 8]
            sees[r] = np.int32(S - column)
            if CAUSAL:
                sees[r] = np.int32(min(S, query + r * 8 + 1 + S - L) - column)

        for step in range((seen + N - 1) // N + 1):
            ptx.cp_async_wait0()
            hopper.fence_async()
            cuda.syncthreads()
            key = step * N
            if key < seen:  # copy a tile while the one before is worked on
                to = STAGE_AT + step % 2 * STAGE
                fetch(tile, to, k, (shared + key) * H, S - key, t)
                fetch(tile, to + N * W, v, (shared + key) * H, S - key, t)
                ptx.cp_async_commit()
            if step > 0:
                key -= N
                k_at = STAGE_AT + np.uint32(step - 1) % 2 * STAGE
                hopper.wgmma_fence()
                scores(tile, mine, k_at, s)  # S = Q K^T
                scores(tile, G_AT + mine, k_at + N * W, ds)  # dP = dO V^T
                all_but_one(s)
                if MASK != "none":
                    see(s, mask, b, head, query, key + column, scale2)
                if key + N > all_see:
                    hide(s, sees, key)
                weigh(s, lse, unit)
                all_scores(ds)
                slope(s, ds, p, delta)
                hopper.wgmma_fence()
                mix(tile, p, k_at, sums)  # dQ += dS K
                all_sums(sums)

        to = own + (query - first_query) * H + column
        write(dq, to, L - query, H - column, sums, scale)

    return queries
