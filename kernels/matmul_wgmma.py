"""The last rung of matmul_tensor.py, for compute capability 9.0 alone: four warps multiply
together, straight from shared memory, and a copy engine brings whole tiles.

``mma`` reaches 5/8 of what an H100's tensor cores can do: a warp cannot hand them its registers any
faster. ``wgmma`` takes its operands from shared memory and works on its own while the warps that
asked for it do other things. See hopper.py for the instructions.
"""

import functools
from typing import NamedTuple

import numpy as np

from kernels import cuda, hopper
from kernels._host import ceil_div, multiprocessors
from kernels._tensor_tiles import block_order, multiple, row_writer

F16, F32, U32, U64 = np.float16, np.float32, np.uint32, np.uint64
BK, LINE = 64, 64  # steps of k in a tile; elements in a line of 128 bytes


class Shape(NamedTuple):
    """How a product is cut: each of ``groups`` warpgroups makes 64 rows of a block's ``columns``
    columns; ``stages`` tiles of A and B are in shared memory at a time."""

    groups: int
    columns: int
    stages: int

    @property
    def rows(self):
        return 64 * self.groups

    @property
    def threads(self):
        """Of a block: those that multiply, and a warpgroup that copies."""
        return 128 * (self.groups + 1)

    @property
    def bytes(self):
        """Of shared memory: the tiles, and two barriers for each."""
        return self.stages * (2 * (self.rows + self.columns) * BK + 2 * 8)


LARGE = Shape(2, 256, 4)
MEDIUM = Shape(2, 128, 6)
SMALL = Shape(1, 64, 8)
COSTS = {LARGE: 1.0, MEDIUM: 0.55, SMALL: 0.2}  # times for one part of C, relative


@functools.cache
def warpgroup(
    dtype="float16", out_dtype="float16", shape=LARGE, a_along_k=True, b_along_k=False,
    N_multiple=8, beta=False, bias=False, activation=None, GROUP=8,
):  # fmt: skip
    """Warps have roles: one asks for copies, two warpgroups multiply.

    - One thread of the producer warp has the copy engine bring boxes of A and B, 64 elements wide,
      swizzled, zeros beyond the edges: no thread computes addresses.
    - An mbarrier for each stage tells the consumers that it is ``full``, another the producer that
      it is ``empty`` again. No barrier stops the whole block, and nobody waits for the slowest.
    - The producer's warpgroup gives its registers to the others.
    - A block stays on its multiprocessor and makes one part of C after another; while the last
      sums are written, the copies for the next part are under way.
    - A consumer issues four wgmmas of 64 x 256 x 16 for a tile, and waits for those of the tile
      before, so that the tensor cores always have the next ones. Shared memory gives 80 of 128
      bytes a cycle for that: 64 rows of A serve 256 columns.

    Predicted: 1.4 times the rung before. The outputs' 128 sums stay in registers throughout.
    N_multiple: see ``row_writer``.
    """
    GROUPS, BN, STAGES = shape
    BM, THREADS, PRODUCER = shape.rows, shape.threads, 4 * GROUPS
    B_PART, STAGE, COUNT = BM * BK, (BM + BN) * BK, BN // 2
    A_ALONG_K, B_ALONG_K = a_along_k, b_along_k
    # The barriers, 8 bytes each, are behind the tiles.
    FULL, EMPTY, WORD = STAGES * STAGE, STAGES * STAGE + 4 * STAGES, 4
    # Along m or n, a tile is made of boxes of 64 columns, one behind the other.
    A_BOXES, B_BOXES, BOX = BM // LINE, BN // LINE, BK * LINE
    A_STEP, B_STEP = 16 if a_along_k else 16 * LINE, 16 if b_along_k else 16 * LINE
    A_GROUP = 64 * LINE  # elements from one warpgroup's rows of A to the next's
    wgmma = hopper.wgmma(dtype, BN, a_along_k, b_along_k, 2 * BOX, 2 * BOX)
    wgmma_wait1, wgmma_wait0 = hopper.wgmma_groups(COUNT)
    # Of 64 Ki registers, 384 threads get 168 each: the producer's 128 keep 40 of them, so that the
    # others may have 232.
    MANY = GROUPS == 2 and COUNT == 128
    give_registers, take_registers = hopper.registers("dec", 40), hopper.registers("inc", 232)
    corner = block_order(BM, BN, GROUP)
    write_row = row_writer(dtype, out_dtype, BN // 8, N_multiple, True, beta, bias, activation)

    @cuda.jit(device=True)
    def after(stage, phase):
        """The next stage, and the phase that its barriers are in."""
        if stage == U32(STAGES - 1):
            return U32(0), U32(phase ^ U32(1))
        return U32(stage + U32(1)), U32(phase)

    @cuda.jit(device=True)
    def produce(shared, a, b, row0, col0, a_plane, b_plane, tiles, stage, phase):
        for tile in range(tiles):
            full = U32(FULL) + stage * U32(WORD)
            hopper.barrier_wait(shared, U32(EMPTY) + stage * U32(WORD), phase ^ U32(1))
            hopper.barrier_expect(shared, full, 2 * STAGE)
            k, to = U32(tile) * U32(BK), stage * U32(STAGE)
            if A_ALONG_K:
                hopper.copy_box(shared, to, a, 0, k, row0, a_plane, shared, full, BM, LINE)
            else:
                for i in range(A_BOXES):
                    x, place = row0 + U32(i * LINE), to + U32(i * BOX)
                    hopper.copy_box(shared, place, a, 0, x, k, a_plane, shared, full, BK, LINE)
            to += U32(B_PART)
            if B_ALONG_K:
                hopper.copy_box(shared, to, b, 0, k, col0, b_plane, shared, full, BN, LINE)
            else:
                for i in range(B_BOXES):
                    x, place = col0 + U32(i * LINE), to + U32(i * BOX)
                    hopper.copy_box(shared, place, b, 0, x, k, b_plane, shared, full, BK, LINE)
            stage, phase = after(stage, phase)
        return stage, phase

    @cuda.jit(device=True)
    def consume(total, shared, group, first, tiles, stage, phase):
        before = stage
        hopper.wgmma_fence()
        for tile in range(tiles):
            hopper.barrier_wait(shared, U32(FULL) + stage * U32(WORD), phase)
            at = stage * U32(STAGE)
            for k in range(BK // 16):
                wgmma(
                    total, shared, at + group * U32(A_GROUP) + U32(k * A_STEP),
                    shared, at + U32(B_PART) + U32(k * B_STEP),
                )  # fmt: skip
            hopper.wgmma_commit()
            wgmma_wait1(total)
            if tile > 0 and first:
                hopper.barrier_arrive(shared, U32(EMPTY) + before * U32(WORD))
            before = stage
            stage, phase = after(stage, phase)
        wgmma_wait0(total)
        if first:
            hopper.barrier_arrive(shared, U32(EMPTY) + before * U32(WORD))
        return stage, phase

    @cuda.jit(archs=(cuda.SM90A,), launch_bounds=(THREADS, 1))
    def warpgroup_kernel(a, b, c, bias, out, M, N, K, a_planes, b_planes, c_batch, alpha, beta):
        shared = cuda.shared.array(0, F16, alignment=1024)
        t, batch = U32(cuda.threadIdx.x), U32(cuda.blockIdx.y)
        warp, lane = U32(t // U32(32)), U32(t % U32(32))
        M, N = U32(M), U32(N)
        blocks = (M + U32(BM - 1)) // U32(BM) * ((N + U32(BN - 1)) // U32(BN))
        tiles = (U32(K) + U32(BK - 1)) // U32(BK)
        if t == U32(0):
            for i in range(STAGES):
                hopper.barrier_init(shared, FULL + WORD * i, 1)
                hopper.barrier_init(shared, EMPTY + WORD * i, GROUPS)
            hopper.fence_async()
        cuda.syncthreads()
        stage, phase = U32(0), U32(0)
        if warp >= U32(PRODUCER):
            if MANY:
                give_registers()
            if warp == U32(PRODUCER) and lane == U32(0):
                hopper.fence_map(a, 0)
                hopper.fence_map(b, 0)
                a_plane, b_plane = batch * U32(a_planes), batch * U32(b_planes)
                for block in range(cuda.blockIdx.x, blocks, cuda.gridDim.x):
                    row0, col0 = corner(U32(block), M, N)
                    stage, phase = produce(
                        shared, a, b, row0, col0, a_plane, b_plane, tiles, stage, phase
                    )
        else:
            if MANY:
                take_registers()
            # The compiler should see that this is the same in all lanes.
            group = U32(cuda.shfl_sync(0xFFFFFFFF, np.int32(t // U32(128)), 0))
            total = cuda.local.array(COUNT, F32)
            c_start, out_start = U64(c_batch) * U64(batch), U64(M) * U64(N) * U64(batch)
            for block in range(cuda.blockIdx.x, blocks, cuda.gridDim.x):
                row0, col0 = corner(U32(block), M, N)
                for i in range(COUNT):
                    total[i] = 0.0
                stage, phase = consume(
                    total, shared, group, t % U32(128) == U32(0), tiles, stage, phase
                )
                row = U32(row0 + warp * U32(16) + lane // U32(4))
                col = U32(col0 + lane % U32(4) * U32(2))
                for h in cuda.unroll(2):
                    write_row(
                        total, U32(2 * h), U32(row + U32(8 * h)), col, M, N,
                        alpha, beta, c, c_start, bias, out, out_start,
                    )  # fmt: skip

    return warpgroup_kernel


def fits(a, b, K):
    """Whether the copy engine can read these: rows are multiples of 16 bytes, and not empty."""
    return a.shape[-1] % 8 == 0 and b.shape[-1] % 8 == 0 and K > 0


def launch(sizes, transpose, a, b, alpha, beta, c, bias, activation, out, shape=None):
    """C = A B by ``warpgroup``; for the arguments see ``matmul_tensor.matmul`` and ``product``."""
    batches, M, N, K, a_stride, b_stride, c_stride, _ = sizes
    if shape is None:
        many = multiprocessors(a)
        parts = lambda each: batches * ceil_div(M, each.rows) * ceil_div(N, each.columns)
        shape = min(COSTS, key=lambda each: ceil_div(parts(each), many) * COSTS[each])
    kernel = warpgroup(
        a.dtype.name, out.dtype.name, shape, transpose[0] == "N", transpose[1] == "T",
        multiple(N), bool(beta), bias is not None, activation,
    )  # fmt: skip
    a_rows = shape.rows if transpose[0] == "N" else BK
    b_rows = shape.columns if transpose[1] == "T" else BK
    out = out.reshape(-1)
    c = c.reshape(-1) if beta else out
    bias = out if bias is None else bias
    blocks = min(ceil_div(M, shape.rows) * ceil_div(N, shape.columns), multiprocessors(out))
    kernel[(blocks, batches), shape.threads, None, shape.bytes](
        hopper.tensor_map(a, a_rows), hopper.tensor_map(b, b_rows), c, bias, out,
        U32(M), U32(N), U32(K), U32(a_stride > 0), U32(b_stride > 0), U64(c_stride),
        F32(alpha), F32(beta),
    )  # fmt: skip
