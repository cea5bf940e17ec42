"""Instructions of compute capability 9.0: tensor cores that four warps drive together, a copy
engine that moves whole tiles, and the barriers that both keep time by.

As in ptx.py each is a function with two bodies. wgmma exists for the target sm_90a alone.

A **tile** here is lines of 128 bytes in shared memory, its first on a boundary of 1,024; the
16-byte chunk c of line i lies at place c ^ (i mod 8) of its line, so that eight lines' equal chunks
lie in different banks. This is the 128-byte swizzle of the PTX ISA, section 5.5.6.
"""

import functools

import numpy as np

from kernels.ptx import BF16
from kernels.sim import warpgroup
from kernels.sim.intrinsics import GLOBAL, SHARED, Registers, gather, intrinsic
from kernels.sim.machine import current

U32 = np.uint32


# Barriers


@intrinsic(returns=(), takes=(SHARED, U32), memory=True, asm="mbarrier.init.shared.b64 [{0}], {1};")
def barrier_init(barriers, index, count):
    """Make 8 bytes of shared memory an mbarrier, whose phases end when ``count`` threads have
    arrived and the bytes that they expected have come. PTX ISA 9.7.13.15.9."""
    warpgroup.start(barriers, index, count)


@intrinsic(returns=(), takes=(), memory=True, asm="fence.proxy.async.shared::cta;")
def fence_async():
    """Let the copy engine and wgmma see what this thread has written to shared memory, new barriers
    too; comes before the block's barrier. PTX ISA 9.7.13.4."""


@intrinsic(returns=(), takes=(SHARED,), memory=True,
           asm="{{ .reg .b64 s; mbarrier.arrive.shared.b64 s, [{0}]; }}")  # fmt: skip
def barrier_arrive(barriers, index):
    """Arrive at an mbarrier: what this thread read or wrote is done. PTX ISA 9.7.13.15.13."""
    warpgroup.barrier(barriers, index).arrive()


@intrinsic(returns=(), takes=(SHARED, U32), memory=True,
           asm="{{ .reg .b64 s; "
               "mbarrier.arrive.expect_tx.shared.b64 s, [{0}], {1}; }}")  # fmt: skip
def barrier_expect(barriers, index, nbytes):
    """Arrive, and let the phase last until ``nbytes`` more have been copied."""
    warpgroup.barrier(barriers, index).arrive(int(nbytes))


@intrinsic(returns=(), takes=(SHARED, U32), memory=True,
           asm="{{ .reg .pred p; again: mbarrier.try_wait.parity.shared.b64 p, [{0}], {1}; "
               "@p bra done; bra again; done: }}")  # fmt: skip
def barrier_wait(barriers, index, parity):
    """Wait until the phase of this parity has ended: phases count from 0, and of a new barrier the
    phase before, parity 1, counts as ended. PTX ISA 9.7.13.15.16."""
    warpgroup.wait_phase(barriers, index, parity)


# Bulk copies


@intrinsic(returns=(), takes=(GLOBAL,), memory=True,
           asm="fence.proxy.tensormap::generic.acquire.sys [{0}], 128;")  # fmt: skip
def fence_map(tensor_map, index):
    """Let the copy engine see a tensor map that lies in global memory. PTX ISA 9.7.13.4."""


@intrinsic(returns=(), takes=(SHARED, GLOBAL, U32, U32, U32, SHARED, U32, U32), memory=True,
           asm="cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[{0}], [{1}, {{{2}, {3}, {4}}}], [{5}];")  # fmt: skip
def copy_box(target, to, tensor_map, index, column, row, plane, barriers, at, rows, columns):
    """Begin to copy a box of a matrix into a tile: ``rows`` lines of ``columns`` elements (128
    bytes) from the place (plane, row, column), zeros beyond the edges. One thread asks for it, and
    its bytes count for the barrier's phase. PTX ISA 9.7.9.27.1.2.

    ``tensor_map`` describes the matrix and the box, see the function below; on the simulator it is
    the matrix itself.
    """
    warpgroup.copy_box(target, to, tensor_map, column, row, plane, barriers, at, rows, columns)


# Warpgroup matrix products


@intrinsic(returns=(), takes=(), memory=True, asm="wgmma.fence.sync.aligned;")
def wgmma_fence():
    """Hand the accumulators over to the tensor cores: comes before the first wgmma after ordinary
    code has had them. PTX ISA 9.7.15.7.1."""
    warpgroup.fence()


@intrinsic(returns=(), takes=(), memory=True, asm="wgmma.commit_group.sync.aligned;")
def wgmma_commit():
    """Make a group of the wgmmas since the last one."""
    warpgroup.commit()


@functools.cache
def wgmma_groups(count):
    """The two instructions that wait for all groups but the last one, and for all groups; they give
    back ``count`` accumulators. PTX ISA 9.7.15.7.3."""

    def instruction(left):
        @intrinsic(returns=(), takes=(Registers(count),), memory=True,
                   asm=f"wgmma.wait_group.sync.aligned {left};")  # fmt: skip
        def wgmma_wait(accumulators):
            warpgroup.wait(left)

        return wgmma_wait

    return instruction(1), instruction(0)


@functools.cache
def wgmma(dtype, columns, a_k_major, b_k_major, a_stride=0, b_stride=0, fresh=False):
    """The instruction D = A B + D of a warpgroup, four warps: A (64, 16) and B (16, columns) in
    swizzled tiles, of float16 or bfloat16; D (64, columns) float32. PTX ISA 9.7.15.5.

    ``wgmma(…)(accumulators, a, a_index, b, b_index)`` begins it; warp w's accumulators are the rows
    16w to 16w + 15 of D, and lane t holds, with g = t / 4 and p = 2 (t mod 4), for each j:

        4j, 4j+1: D[g, 8j + p : 8j + p + 2]    4j+2, 4j+3: D[g + 8, 8j + p : 8j + p + 2]

    An operand is k_major if the lines of its tile run along k, as those of a row-major A or of a
    column-major B do; the index is then that of its first row's first element, and k advances by
    moving it along the line. If not, the lines run along m or n, 64 of them at a time, a_stride or
    b_stride bytes apart, and k advances by lines. fresh: D = A B, whatever was in the accumulators.
    """
    kind = {"float16": "f16", "bfloat16": "bf16"}[dtype]
    numpy_type = np.float16 if dtype == "float16" else BF16
    count = columns // 2
    asm = (
        "{{ .reg .b64 da, db; .reg .b32 a, b; "
        "bfe.u32 a, {1}, 4, 14; or.b32 a, a, " + str(a_stride // 16 << 16) + "; "
        "bfe.u32 b, {2}, 4, 14; or.b32 b, b, " + str(b_stride // 16 << 16) + "; "
        "mov.b64 da, {{a, " + str(1 << 30 | 1024 // 16) + "}}; "
        "mov.b64 db, {{b, " + str(1 << 30 | 1024 // 16) + "}}; "
        f"wgmma.mma_async.sync.aligned.m64n{columns}k16.f32.{kind}.{kind} "
        "{{{0}}}, da, db, " + f"{1 - fresh}, 1, 1, {1 - a_k_major}, {1 - b_k_major}; }}}}"
    )

    @intrinsic(returns=(), takes=(Registers(count), SHARED, SHARED), memory=True, asm=asm)
    def wgmma_issue(accumulators, a, a_index, b, b_index):
        warp = current().warp % 4
        if a_k_major:
            warpgroup.touch(a, a_index + 16 * warp * (128 // a.itemsize), 16, True, a_stride)
        else:
            warpgroup.touch(a, a_index, 64, False, a_stride)
        warpgroup.touch(b, b_index, columns, b_k_major, b_stride)

        def solve(given):
            A = warpgroup.operand(a, a_index, 64, numpy_type, a_k_major, a_stride)
            B = warpgroup.operand(b, b_index, columns, numpy_type, b_k_major, b_stride)
            if fresh:
                given = {lane: np.zeros_like(before) for lane, before in given.items()}
            return warpgroup.product(given, A, B, warp)

        result, used = gather("wgmma", warpgroup.latest(accumulators), solve)
        warpgroup.issue(accumulators, result, used)

    return wgmma_issue


@functools.cache
def wgmma_held(dtype, columns, b_k_major, b_stride=0):
    """The same with A (64, 16) in registers, four words of a lane: warp w holds the rows 16w to
    16w + 15, its lanes what they would for ``ptx.mma_f16``. Nobody may change the words before the
    wait. ``wgmma_held(…)(accumulators, a0, a1, a2, a3, b, b_index)``.
    """
    kind = {"float16": "f16", "bfloat16": "bf16"}[dtype]
    numpy_type = np.float16 if dtype == "float16" else BF16
    asm = (
        "{{ .reg .b64 db; .reg .b32 b; "
        "bfe.u32 b, {5}, 4, 14; or.b32 b, b, " + str(b_stride // 16 << 16) + "; "
        "mov.b64 db, {{b, " + str(1 << 30 | 1024 // 16) + "}}; "
        f"wgmma.mma_async.sync.aligned.m64n{columns}k16.f32.{kind}.{kind} "
        "{{{0}}}, {{{1}, {2}, {3}, {4}}}, db, 1, 1, 1, " + f"{1 - b_k_major}; }}}}"
    )

    @intrinsic(returns=(), takes=(Registers(columns // 2),) + (U32,) * 4 + (SHARED,),
               memory=True, asm=asm)  # fmt: skip
    def wgmma_issue(accumulators, a0, a1, a2, a3, b, b_index):
        warpgroup.touch(b, b_index, columns, b_k_major, b_stride)

        def solve(given):
            lanes = np.arange(32)[:, None, None]
            words = np.array([given[lane][1] for lane in range(32)], np.uint32)
            halves = words.view(numpy_type).reshape(32, 4, 2).astype(np.float32)
            i, e = np.arange(4)[:, None], np.arange(2)
            A = np.empty((16, 16), np.float32)
            A[lanes // 4 + 8 * (i % 2), 2 * (lanes % 4) + 8 * (i // 2) + e] = halves
            B = warpgroup.operand(b, b_index, columns, numpy_type, b_k_major, b_stride)
            before = {lane: own for lane, (own, _) in given.items()}
            return warpgroup.product_of_rows(before, A, B, [])

        mine = warpgroup.latest(accumulators), (a0, a1, a2, a3)
        result, used = gather("wgmma", mine, solve)
        warpgroup.issue(accumulators, result, used)

    return wgmma_issue


@functools.cache
def registers(action, count):
    """The instruction with which all warps of a warpgroup give back registers ("dec"), down to
    ``count`` a thread, or take what others gave back ("inc"), up to it. A kernel begins with what
    its launch bounds allow. PTX ISA 9.7.19.5."""

    @intrinsic(returns=(), takes=(), memory=True,
               asm=f"setmaxnreg.{action}.sync.aligned.u32 {count};")  # fmt: skip
    def set_registers():
        pass

    return set_registers


# On the host


def tensor_map(array, rows):
    """The copy engine's description of an array (…, height, width) of 16-bit numbers, as (planes,
    height, width), and of a box of ``rows`` lines of 64 of them in it, as an argument of a kernel;
    the simulator takes the array itself. The width must be a multiple of 8. CUDA driver API, 6.31.
    """
    height, width = array.shape[-2:]
    shape = array.size // (height * width), height, width
    if isinstance(array, np.ndarray):
        return array.view(np.uint16).reshape(shape)
    return _tensor_map(array.device.id, array.data.ptr, shape, rows)


@functools.lru_cache(256)
def _tensor_map(device, pointer, shape, rows):
    import cupy
    from cuda.bindings import driver

    long, short = driver.cuuint64_t, driver.cuuint32_t
    planes, height, width = shape
    status, encoded = driver.cuTensorMapEncodeTiled(
        driver.CUtensorMapDataType.CU_TENSOR_MAP_DATA_TYPE_UINT16,
        3,
        pointer,
        [long(width), long(height), long(planes)],
        [long(2 * width), long(2 * width * height)],
        [short(64), short(rows), short(1)],
        [short(1), short(1), short(1)],
        driver.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE,
        driver.CUtensorMapSwizzle.CU_TENSOR_MAP_SWIZZLE_128B,
        driver.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
        driver.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
    )
    if status != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"the driver refused a tensor map of {shape}: {status.name}")
    with cupy.cuda.Device(device):
        out = cupy.asarray(np.array([int(word) for word in encoded.opaque], np.uint64))
        cupy.cuda.get_current_stream().synchronize()  # it may be used on another one next
    return out
