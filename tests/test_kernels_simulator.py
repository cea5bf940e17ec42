"""The simulator: deterministic, with a GPU's rules, and errors that say who, what and where."""

import itertools
import warnings

import ml_dtypes
import numpy as np
import pytest

from kernels import cuda, ptx
from kernels._host import empty
from kernels.sim import machine, races
from kernels.sim.machine import SimulationError
from kernels.watch import watch

ALL = 0xFFFFFFFF
BF16 = ml_dtypes.bfloat16


def words(array):
    """Words of pairs of 16-bit numbers."""
    return np.ascontiguousarray(array).view(np.uint32)


# Launching


@cuda.jit
def add(x, y, out):
    i = cuda.grid(1)
    if i < out.size:
        out[i] = x[i] + y[i]


X = np.ones(8, np.float32)


def test_a_kernel_is_launched_with_a_grid_and_a_block():
    with pytest.raises(TypeError, match=r"add\[grid, block\]"):
        add(X, X, X)
    with pytest.raises(ValueError, match=r"add\[grid, block\]"):
        add[4](X, X, X)


@pytest.mark.parametrize(
    ("grid", "block", "message"),
    [
        (0, 32, "grid is 0"),
        (1, 0, "block is 0"),
        (1, 32.0, "block is 32.0"),
        ((1, 2, 3, 4), 32, "one to three integers"),
        (1, (64, 32), "2048 threads; a GPU takes 1024"),
        (1, (1, 1, 65), r"\(1024, 1024, 64\)"),
        ((1, 65536), 1, "65535"),
    ],
)
def test_sizes_that_no_gpu_takes_are_refused(grid, block, message):
    with pytest.raises(ValueError, match=message):
        add[grid, block](X, X, X)


def test_too_much_dynamic_shared_memory_is_refused():
    with pytest.raises(ValueError, match=r"232,449 bytes .* may have 232,448"):
        add[1, 8, None, 227 * 1024 + 1](X, X, X)


def test_a_block_keeps_to_the_launch_bounds_of_its_kernel():
    for bounds in (64, (64, 2)):
        kernel = cuda.jit(launch_bounds=bounds)(add.function)
        kernel[1, 64](X, X, np.zeros(8, np.float32))
        with pytest.raises(ValueError, match="has 65 threads; this kernel takes 64"):
            kernel[1, 65](X, X, X)


def test_too_few_arguments_are_refused():
    with pytest.raises(TypeError, match=r"add takes 3 arguments \(x, y, out\), got 2"):
        add[1, 8](X, X)


@pytest.mark.parametrize("wrong", [[1.0, 2.0], None, "x", 1j, X.astype("O"), X * 1j])
def test_what_is_no_array_of_numbers_is_refused(wrong):
    with pytest.raises(TypeError, match="add: y "):
        add[1, 8](X, wrong, X)


def test_arrays_of_two_devices_are_refused():
    class OnGpu:
        __cuda_array_interface__ = None

    with pytest.raises(TypeError, match="y is a NumPy array among CuPy arrays"):
        add[1, 8](OnGpu(), X, X)


# Arrays


@cuda.jit
def read(x, i, j, out):
    out[0] = x[i, j]


@cuda.jit
def write(x, i, value):
    x[i] = value


@pytest.mark.parametrize("place", [(3, 0), (0, 5), (-1, 0), (0, -1), (2, 1 << 40)])
def test_an_index_outside_says_which_array_thread_and_line(place):
    x = np.zeros((3, 5), np.float32)
    told = rf"\[{place[0]}, {place[1]}\] is outside of x, shape \(3, 5\)"
    with pytest.raises(IndexError, match=told) as error:
        read[(1, 2), 4](x, *place, X)
    line = read.function.__code__.co_firstlineno + 2
    assert error.value.__notes__ == [
        f"in read, thread (0, 0, 0) of block (0, 0, 0), at {__file__}:{line}"
    ]


@pytest.mark.parametrize("i", [-1, 8, np.int32(-8)])
def test_an_array_of_one_axis_has_ends(i):
    with pytest.raises(IndexError, match=rf"\[{i}\] is outside of x, shape \(8,\)"):
        write[1, 1](X, i, 1.0)


@pytest.mark.parametrize("i", [-1, 4, np.int64(-4)])
def test_a_local_array_has_ends(i):
    @cuda.jit
    def local(i, out):
        line, table = cuda.local.array(4, np.float32), cuda.local.array((2, 4), np.float32)
        line[0], table[1, 3] = 1.0, 2.0
        out[0], out[1] = line[0], table[1, 3]
        if out.size > 8:
            line[i] = 3.0
        out[2] = table[1, i] if out.size > 7 else line[i]

    for size in (7, 8, 9):
        out = np.zeros(size, np.float32)
        with pytest.raises(IndexError, match=r"is negative|out of bounds for axis \d with size 4"):
            local[1, 1](i, out)
        assert out.tolist()[:3] == [1, 2, 0]


def test_an_index_is_an_integer():
    with pytest.raises(IndexError, match=r"1.5\) is no index into x"):
        write[1, 1](X, 1.5, 1.0)


def test_an_array_does_not_have_more_axes_than_it_has():
    with pytest.raises(IndexError, match="2 indices into x, which has 1 axes"):
        read[1, 1](X, 0, 0, X)


def test_a_kernel_writes_elements_and_no_rows():
    with pytest.raises(SimulationError, match="one element at a time"):
        write[1, 1](np.zeros((2, 2), np.float32), 1, 1.0)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_a_float_is_not_put_among_integers(dtype):
    with pytest.raises(TypeError, match=rf"x holds {dtype}: round it first"):
        write[1, 1](np.zeros(3, dtype), 1, 1.5)


def test_floats_and_integers_are_put_among_floats():
    x = np.zeros(3, np.float16)
    write[1, 1](x, 0, 1.5)
    write[1, 1](x, 1, 7)
    assert x.tolist() == [1.5, 7, 0]


def test_a_row_of_an_array_is_an_array_with_bounds():
    @cuda.jit
    def rows(x, out):
        row = x[1]
        out[0] = row[2] + len(row) + x[0:2, 1][1] + row.shape[0]
        row[3] = 5.0
        x[1:, 1:][0, 1:][1] = row[3] + 1

    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    out = np.zeros(1, np.float32)
    report = watch(rows[1, 1], x, out)
    assert out[0] == 6 + 4 + 5 + 4
    assert x[1, 3] == 6
    assert report.accesses["offset"].tolist() == [24, 20, 0, 28, 28, 28]


def test_what_nobody_has_written_is_conspicuous():
    @cuda.jit
    def unwritten(floats, integers, out):
        shared = cuda.shared.array(4, np.float32)
        local = cuda.local.array(4, np.float16)
        counts = cuda.shared.array(4, np.int32)
        floats[0], floats[1], integers[0] = shared[1], local[2], counts[3]

    floats, integers = np.zeros(2, np.float32), np.zeros(1, np.int64)
    report = watch(unwritten[1, 1], floats, integers, X)
    assert np.isnan(floats).all()
    assert abs(integers[0]) > 1e8
    assert [(read.memory.name, read.index) for read in report.unwritten] == [
        ("shared", (1,)),
        ("local", (2,)),
        ("counts", (3,)),
    ]
    line = unwritten.function.__code__.co_firstlineno + 5
    told = f"counts[3]: read by thread 0 of block 0 at {__file__}:{line} before any write"
    assert str(report.unwritten[2]) == told


def test_only_what_a_thread_has_not_written_itself_is_called_unwritten():
    @cuda.jit
    def copied(x, out):
        tile = cuda.shared.array(2, np.float32)
        local = cuda.local.array((2, 2), np.float32)
        tile[0] = x[0]
        local[1, 0], local[1, 1] = tile[0] * np.float32(np.nan), tile[1]
        out[0] = local[1, 0] + local[1, 1]
        out[1] = local[0, 1]

    report = watch(copied[2, 1], X, np.zeros(2, np.float32))
    assert [(read.memory.name, read.index) for read in report.unwritten] == [
        ("tile", (1,)),
        ("local", (0, 1)),
    ]
    line = copied.function.__code__.co_firstlineno + 7
    kind, thread, block, site = report.unwritten[1].reader
    assert (kind, thread, block, site.line) == ("read", 0, 0, line)


def test_an_array_that_is_fresh_may_not_be_read_before_it_is_written():
    @cuda.jit
    def summed(x, out):
        t = cuda.blockIdx.x
        if t:
            out[t] = x[t]
        out[t] += x[t]

    report = watch(summed[2, 1], X, np.zeros(2, np.float32))
    assert races.unwritten(report.watcher, report.accesses) == []
    (read,) = races.unwritten(report.watcher, report.accesses, fresh={"out"})
    assert (read.memory.name, read.index) == ("out", (0,))


@pytest.mark.parametrize("shape", [(), (0,), 3, (2, 3)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "int32", "uint8", BF16])
def test_new_arrays_hold_what_nobody_would_write(shape, dtype):
    out = empty(X, shape, dtype)
    assert out.shape == (np.empty(shape).shape) and out.dtype == dtype
    assert np.isnan(out).all() if out.dtype.kind not in "iu" else (out != 0).all()


def test_each_block_has_shared_memory_of_its_own_and_each_thread_local_memory():
    @cuda.jit
    def own(out):
        shared = cuda.shared.array(1, np.int32)
        local = cuda.local.array(1, np.int32)
        t = cuda.threadIdx.x
        if t == 0:
            shared[0] = cuda.blockIdx.x
        local[0] = t
        cuda.syncthreads()
        out[cuda.grid(1)] = 10 * shared[0] + local[0]

    out = np.zeros(6, np.int32)
    own[3, 2](out)
    assert out.tolist() == [0, 1, 10, 11, 20, 21]


def test_dynamic_shared_memory_has_as_many_bytes_as_the_launch_asked_for():
    @cuda.jit
    def last(out):
        half = cuda.shared.array(0, np.float16)
        out[0] = half.size

    out = np.zeros(1, np.int64)
    last[1, 1, None, 101](out)
    assert out[0] == 50
    with pytest.raises(SimulationError, match="asked for no dynamic shared memory"):
        last[1, 1](out)


def test_a_kernel_declares_at_most_48_kb_of_shared_memory():
    @cuda.jit
    def greedy(out):
        first = cuda.shared.array(8192, np.float32)
        second = cuda.shared.array((64, 65), np.float32)
        out[0] = first.size + second.size

    with pytest.raises(SimulationError, match=r"49,408 bytes .* may declare 49,152"):
        greedy[1, 1](X)

    @cuda.jit
    def both(out):
        static, dynamic = cuda.shared.array(64, np.float32), cuda.shared.array(0, np.float32)
        out[0] = static.size + dynamic.size

    with pytest.raises(SimulationError, match=r"232,704 bytes .* may have 232,448"):
        both[1, 1, None, 227 * 1024](X)


def test_numbers_overflow_in_silence_as_on_a_gpu():
    @cuda.jit
    def overflow(x, out):
        out[0] = x[0] * x[0] - x[0] * x[0]

    out = np.zeros(1, np.float32)
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        overflow[1, 1](np.full(1, 1e30, np.float32), out)
    assert np.isnan(out[0])


# Waiting


def test_threads_of_a_block_that_wait_at_two_barriers_are_an_error():
    @cuda.jit
    def split(x):
        if cuda.threadIdx.x < 2 and cuda.blockIdx.x:
            cuda.syncthreads()
        else:
            cuda.syncthreads()
        x[0] = 1.0

    first = split.function.__code__.co_firstlineno + 3
    with pytest.raises(SimulationError, match=r"no thread of block 1 can") as error:
        split[2, 4](X)
    told = "threads 0 to 1 wait at {0}:{1} for the block (barrier); threads 2 to 3 wait at {0}:{2}"
    assert told.format(__file__, first, first + 2) in str(error.value)
    assert error.value.kinds == ["barrier"]
    assert [site.line for site in error.value.sites] == [first, first + 2]


def test_a_barrier_for_those_who_are_still_there():
    @cuda.jit
    def leave(x):
        if cuda.threadIdx.x >= 3:
            return
        cuda.syncthreads()
        x[cuda.threadIdx.x] = 2.0

    x = np.zeros(5, np.float32)
    leave[1, 5](x)
    assert x.tolist() == [2, 2, 2, 0, 0]


def test_a_shuffle_that_a_lane_never_comes_to_is_an_error():
    @cuda.jit
    def lonely(x):
        if cuda.laneid != 5:
            x[0] = cuda.shfl_xor_sync(ALL, x[0], 1)

    told = (
        rf"block 0 can go on: threads 0 to 4 and 6 to 31 wait at {__file__}:\d+ for the warp "
        r"\(shfl_xor_sync\); thread 5 has ended$"
    )
    with pytest.raises(SimulationError, match=told):
        lonely[1, 32](X)


def test_a_call_with_too_few_arguments_is_named():
    @cuda.jit
    def forgotten(x):
        cuda.atomic.add(x, 0)

    with pytest.raises(TypeError, match=r"atomic\.add\(\) missing 1"):
        forgotten[1, 1](X)


def test_threads_that_leave_before_a_barrier_are_noted():
    @cuda.jit
    def leave(x):
        if cuda.threadIdx.x % 4 == 1 or cuda.blockIdx.x == 0:
            return
        cuda.syncthreads()
        cuda.syncthreads()

    ((site, (block, ranks)), _) = watch(leave[3, 8], X).watcher.left.items()
    assert (site.line, block, ranks) == (leave.function.__code__.co_firstlineno + 4, 1, [1, 5])
    assert machine.ranks_in_words([1, 5, 6, 7, 9]) == "threads 1 and 5 to 7 and 9"
    assert machine.ranks_in_words([*range(0, 32, 2)]) == "16 threads (0, 2, 4 …)"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((ALL, 1, 8.0), "the distance 8.0 is no integer"),
        ((1, 8), r"shfl_down_sync\(mask, value, distance\) takes three arguments, and 2 are"),
    ],
)
def test_a_shuffle_takes_a_mask_a_value_and_an_integer(given, message):
    @cuda.jit
    def handed(x):
        cuda.shfl_down_sync(*given)

    with pytest.raises(TypeError, match=message):
        handed[1, 32](X)


def test_a_lane_outside_of_its_own_mask_is_an_error():
    @cuda.jit
    def outside(x):
        cuda.syncwarp(0xF0)
        x[0] = 1.0

    with pytest.raises(SimulationError, match=r"lane 0, which its own mask 0xf0 .* leaves out"):
        outside[1, 32](X)


def test_half_a_warp_can_meet_alone():
    @cuda.jit
    def halves(x, out):
        t = cuda.threadIdx.x
        if t < 16:
            out[t] = cuda.shfl_down_sync(0xFFFF, x[t], 1)
        else:
            out[t] = x[t]

    x, out = np.arange(32, dtype=np.float32), np.zeros(32, np.float32)
    with pytest.raises(SimulationError, match="lane 15 reads lane 16, which takes no part"):
        halves[1, 32](x, out)


@pytest.mark.parametrize("value", [True, np.float16(1), np.bool_(1)])
def test_lanes_exchange_numbers_of_32_or_64_bits_only(value):
    @cuda.jit
    def shuffle(x, out):
        out[0] = cuda.shfl_sync(ALL, x, 0)

    with pytest.raises(TypeError, match="32 or 64 bits"):
        shuffle[1, 32](value, X)


def test_a_barrier_that_counts_takes_integers_as_the_compiler_does():
    @cuda.jit
    def count(out):
        out[0] = cuda.syncthreads_count(cuda.threadIdx.x > 3)

    with pytest.raises(TypeError, match=r"say np.int32\(…\)"):
        count[1, 8](X)


def test_atomic_operations_take_two_of_a_kind():
    @cuda.jit
    def count(x, value):
        cuda.atomic.add(x, 0, value)

    with pytest.raises(TypeError, match="float32 on int32"):
        count[1, 1](np.zeros(1, np.int32), 1.5)
    with pytest.raises(TypeError, match="float32 on float16"):
        count[1, 1](np.zeros(1, np.float16), 1.5)


def test_a_kernel_launches_no_kernel():
    @cuda.jit
    def outer(x):
        write[1, 1](x, 0, 1.0)

    with pytest.raises(RuntimeError, match="cannot launch a kernel"):
        outer[1, 1](X)
    with pytest.raises(RuntimeError, match="inside a kernel only"):
        cuda.grid(1)


def test_after_an_error_the_simulator_works_as_before():
    with pytest.raises(IndexError):
        write[1, 4](X, 99, 1.0)
    out = np.zeros(8, np.float32)
    add[1, 8](X, X, out)
    assert out.tolist() == [2.0] * 8


def test_threads_take_turns_in_the_same_order_each_time():
    @cuda.jit
    def order(turns, out):
        t = cuda.grid(1)
        for step in range(3):
            out[t, step] = cuda.atomic.add(turns, 0, 1)
            cuda.syncthreads()
            if t % 3 == step:
                cuda.syncwarp(1 << cuda.laneid)

    outs = [np.zeros((12, 3), np.int32) for _ in range(2)]
    for out in outs:
        order[2, 6](np.zeros(1, np.int32), out)
    assert (outs[0] == outs[1]).all()
    assert sorted(outs[0].reshape(-1)) == list(range(36))


# Asynchronous copies


def copying(waits=True, early=False, groups=0):
    """A kernel that copies 4 numbers to shared memory and reads them."""

    @cuda.jit
    def kernel(x, out):
        stage = cuda.shared.array(8, np.float32)
        stage[4] = 1.0
        ptx.cp_async16(stage, 4, x, 4, 8)
        ptx.cp_async_commit()
        if early:
            out[1] = stage[4]
        if groups:
            ptx.cp_async_commit()
        if waits and groups:
            ptx.cp_async_wait1()
        elif waits:
            ptx.cp_async_wait0()
        out[0], out[2] = stage[5], stage[6]

    return kernel


def test_a_copy_arrives_when_its_group_is_waited_for_the_rest_zero():
    for groups in (0, 1):
        x, out = np.arange(8, dtype=np.float32), np.full(3, 9, np.float32)
        report = watch(copying(groups=groups)[1, 1], x, out)
        assert out.tolist() == [5, 9, 0]
        assert report.races == []


def test_reading_a_copy_that_is_under_way_gives_nan_and_is_told():
    out = np.zeros(3, np.float32)
    report = watch(copying(early=True)[1, 1], X, out)
    assert np.isnan(out[1])
    (race,) = report.races
    assert race.underway
    first = copying().function.__code__.co_firstlineno
    assert [race.first[3].line - first, race.second[3].line - first] == [4, 7]
    assert "asynchronous copy by thread 0 of block 0" in str(race)
    assert "while under way" in str(race)


def test_waiting_for_all_but_one_group_leaves_the_last_under_way():
    @cuda.jit
    def two(x, out):
        stage = cuda.shared.array(8, np.float32)
        ptx.cp_async4(stage, 0, x, 1, 4)
        ptx.cp_async_commit()
        ptx.cp_async4(stage, 1, x, 2, 4)
        ptx.cp_async_commit()
        ptx.cp_async_wait1()
        out[0], out[1] = stage[0], stage[1]
        ptx.cp_async_wait0()
        out[2] = stage[1]

    out = np.zeros(3, np.float32)
    report = watch(two[1, 1], np.arange(8, dtype=np.float32), out)
    np.testing.assert_array_equal(out, [1, np.nan, 2])
    assert [race.index for race in report.races] == [(1,)]


def test_a_thread_does_not_end_with_copies_under_way():
    with pytest.raises(SimulationError, match="has not waited for"):
        copying(waits=False)[1, 1](X, np.zeros(3, np.float32))


def test_copies_lie_on_boundaries_of_their_size():
    @cuda.jit
    def crooked(x):
        stage = cuda.shared.array(8, np.float32)
        ptx.cp_async16(stage, 2, x, 4, 16)

    with pytest.raises(ValueError, match="element 2 of stage is not on a boundary of 16 bytes"):
        crooked[1, 1](X)


def test_the_bytes_of_a_copy_are_counted_once_on_each_side():
    report = watch(copying()[1, 1], np.arange(8, dtype=np.float32), np.zeros(3, np.float32))
    assert (report.global_reads.count, report.global_reads.bytes) == (1, 8)
    assert (report.shared_writes.count, report.shared_writes.bytes) == (2, 4 + 16)


# Instructions of whole warps, against NumPy


@pytest.mark.parametrize(("dtype", "mma"), [(np.float16, ptx.mma_f16), (BF16, ptx.mma_bf16)])
def test_mma_multiplies_matrices_that_ldmatrix_has_loaded(dtype, mma):
    @cuda.jit
    def product(A, B, C, out):
        a, b = cuda.shared.array((16, 16), dtype), cuda.shared.array((16, 16), dtype)
        t = cuda.threadIdx.x
        for i in range(t, 256, 32):
            a[i // 16, i % 16], b[i // 16, i % 16] = A[i // 16, i % 16], B[i // 16, i % 16]
        cuda.syncwarp()
        at = t % 16 * 16 + t // 16 * 8
        a0, a1, a2, a3 = ptx.ldmatrix_x4(a, at)
        b0, b1, b2, b3 = ptx.ldmatrix_x4_trans(b, at)
        g, p = t // 4, 2 * (t % 4)
        c = C[g, p], C[g, p + 1], C[g + 8, p], C[g + 8, p + 1]
        left = mma(a0, a1, a2, a3, b0, b1, *c)
        right = mma(a0, a1, a2, a3, b2, b3, *c)
        for i in range(4):
            out[g + 8 * (i // 2), p + i % 2] = left[i]
            out[g + 8 * (i // 2), 8 + p + i % 2] = right[i]

    rng = np.random.default_rng(5)
    A, B = rng.standard_normal((2, 16, 16)).astype(dtype)
    C, out = rng.standard_normal((16, 8)).astype(np.float32), np.zeros((16, 16), np.float32)
    report = watch(product[1, 32], A, B, C, out)
    want = A.astype(float) @ B.astype(float) + np.tile(C, 2)
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-5)
    assert report.races == report.unwritten == []


def test_vector_loads_and_stores_move_16_bytes_on_a_boundary():
    @cuda.jit
    def move(x, y, start):
        a, b, c, d = ptx.load_words(x, start)
        ptx.store_words(y, 8, d, c, b, a)

    x, y = np.arange(32, dtype=np.float16), np.zeros(16, np.float16)
    report = watch(move[1, 1], x, y, 16)
    assert words(y[8:]).tolist() == words(x[16:24]).tolist()[::-1]
    assert (report.global_reads.count, report.global_reads.bytes) == (1, 16)
    with pytest.raises(ValueError, match="element 4 of x is not on a boundary of 16 bytes"):
        move[1, 1](x, y, 4)
    with pytest.raises(IndexError, match="elements 32 to 39 are outside of x"):
        move[1, 1](x, y, 32)


def test_words_hold_two_numbers_of_16_bits():
    @cuda.jit
    def there_and_back(x, out):
        out[0], out[1] = ptx.unpack_f16(ptx.pack_f16(x[0], x[1]))
        out[2], out[3] = ptx.unpack_bf16(ptx.pack_bf16(x[0], x[1]))

    x, out = np.array([1 / 3, -70.0], np.float32), np.zeros(4, np.float32)
    there_and_back[1, 1](x, out)
    want = [*x.astype(np.float16).astype(float), *x.astype(BF16).astype(float)]
    assert out.tolist() == want


# Races


def racing(kernel, block, *args, grid=1):
    """The races of a launch, as (kind, line) pairs, lines counted from the kernel's first."""
    first = kernel.function.__code__.co_firstlineno
    races = watch(kernel[grid, block], *args).races
    return [tuple((each[0], each[3].line - first) for each in race[2:4]) for race in races]


def shifting(sync):
    @cuda.jit
    def kernel(x, out):
        s = cuda.shared.array(128, np.float32)
        t, n = cuda.threadIdx.x, cuda.blockDim.x
        s[t] = x[t]
        sync()
        out[t] = s[(t + 1) % n]

    return kernel


def test_a_missing_barrier_is_a_race_with_both_lines():
    x, out = np.arange(64, dtype=np.float32), np.zeros(64, np.float32)
    assert racing(shifting(lambda: None), 64, x, out) == [(("write", 4), ("read", 6))]
    assert racing(shifting(cuda.syncthreads), 64, x, out) == []


def test_syncwarp_orders_a_warp_and_no_more():
    x, out = np.arange(64, dtype=np.float32), np.zeros(64, np.float32)
    assert racing(shifting(cuda.syncwarp), 32, x, out) == []
    assert racing(shifting(cuda.syncwarp), 64, x, out) == [(("write", 4), ("read", 6))]


def test_shuffles_and_votes_order_no_memory():
    x, out = np.arange(32, dtype=np.float32), np.zeros(32, np.float32)
    for sync in (
        lambda: cuda.shfl_sync(ALL, 1, 0),
        lambda: cuda.all_sync(ALL, True),
        lambda: cuda.ballot_sync(ALL, True),
    ):
        assert racing(shifting(sync), 32, x, out) == [(("write", 4), ("read", 6))]


def test_syncwarp_of_some_lanes_orders_those():
    def kernel(first, second):
        @cuda.jit
        def chain(x):
            s = cuda.shared.array(32, np.float32)
            t = cuda.laneid
            if t == 0:
                s[0] = x[0]
            if first >> t & 1:
                cuda.syncwarp(first)
            if second >> t & 1:
                cuda.syncwarp(second)
            if t == 9:
                x[9] = s[0]

        return chain

    x = np.ones(32, np.float32)
    for masks, ordered in [
        ((0b1000000001, 0b11), True),
        ((0b11, 0b1000000010), True),  # 0 meets 1, and 1 meets 9
        ((0b1000000010, 0b11), False),  # the wrong way round
        ((0b11, 0b1000000100), False),
    ]:
        assert (racing(kernel(*masks), 32, x) == []) == ordered


def test_two_blocks_at_one_element_are_a_race_whatever_they_wait_for():
    @cuda.jit
    def last(x, total):
        cuda.syncthreads()
        total[0] = x[cuda.grid(1)]

    @cuda.jit
    def sum(x, total):
        cuda.atomic.add(total, 0, x[cuda.grid(1)])

    @cuda.jit
    def mixed(x, total):
        cuda.atomic.add(total, 0, x[cuda.grid(1)])
        x[cuda.grid(1)] = total[0]

    x = np.arange(4, dtype=np.float32)
    assert racing(last, 1, x, np.zeros(1, np.float32), grid=4) == [(("write", 3), ("write", 3))]
    assert racing(sum, 2, x, np.zeros(1, np.float32), grid=2) == []
    assert (("atomic", 2), ("read", 3)) in racing(mixed, 1, x, np.zeros(1, np.float32), grid=4)


def test_a_race_between_views_of_different_dtypes_is_found():
    @cuda.jit
    def views(out):
        halves, whole = cuda.shared.array(0, np.float16), cuda.shared.array(0, np.float32)
        t = cuda.threadIdx.x
        halves[2 * t + 1] = 1.0
        out[t] = whole[t ^ 1]

    assert len(watch(views[1, 2, None, 64], np.zeros(2, np.float32)).races) == 1


def test_a_copy_that_another_thread_reads_without_a_barrier_is_a_race():
    @cuda.jit
    def handed_over(x, out):
        stage = cuda.shared.array(64, np.float32)
        t = cuda.threadIdx.x
        ptx.cp_async4(stage, t, x, t, 4)
        ptx.cp_async_commit()
        ptx.cp_async_wait0()
        out[t] = stage[t ^ 1]

    x, out = np.arange(64, dtype=np.float32), np.zeros(64, np.float32)
    (race,) = watch(handed_over[1, 64], x, out).races
    assert {race.first[0], race.second[0]} == {"asynchronous copy", "read"}


def test_a_copy_into_what_others_still_read_is_a_race():
    @cuda.jit
    def hasty(x, out):
        stage = cuda.shared.array(64, np.float32)
        t = cuda.threadIdx.x
        for step in range(2):
            ptx.cp_async4(stage, t, x, 64 * step + t, 4)
            ptx.cp_async_commit()
            ptx.cp_async_wait0()
            cuda.syncthreads()
            out[step, t] = stage[t ^ 1]

    x, out = np.arange(128, dtype=np.float32), np.zeros((2, 64), np.float32)
    assert len(watch(hasty[1, 64], x, out).races) == 1


def test_at_most_eight_races_are_told():
    @cuda.jit
    def chaos(x):
        x[0] = x[1] = x[2] = x[3] = x[4] = x[5] = x[6] = x[7] = x[8] = x[9] = cuda.threadIdx.x

    assert len(watch(chaos[1, 4], np.zeros(10, np.float32)).races) == 8


def test_random_kernels_race_as_a_search_of_all_pairs_says():
    rng = np.random.default_rng(3)

    @cuda.jit
    def follow(plan, x):
        t = cuda.threadIdx.x
        s = cuda.shared.array(4, np.float32)
        for step in range(plan.shape[1]):
            what, where = plan[t, step, 0], plan[t, step, 1]
            if what == 1:
                x[0] = s[where]
            elif what == 2:
                s[where] = 1.0
            if plan[0, step, 2] == 1:
                cuda.syncthreads()
            elif plan[0, step, 2] == 2:
                cuda.syncwarp()

    raced = 0
    for _ in range(60):
        plan = np.zeros((40, 3, 3), np.int64)
        busy = rng.choice(40, 3, replace=False)
        plan[busy, :, 0] = rng.integers(0, 3, (3, 3))
        plan[busy, :, 1] = rng.integers(0, 4, (3, 3))
        plan[0, :, 2] = rng.integers(0, 3, 3)
        report = watch(follow[1, 40], plan, np.zeros(1, np.float32))
        got = any(race.memory.name == "s" for race in report.races)
        assert got == races_by_hand(plan), plan[busy]
        raced += got
    assert 10 < raced < 50


def races_by_hand(plan):
    """Whether two accesses of a plan race: pair by pair, what lies between them."""
    accesses = [
        (step, t, *plan[t, step, :2])
        for step, t in itertools.product(range(plan.shape[1]), range(len(plan)))
        if plan[t, step, 0]
    ]
    for (step, t, what, where), (step2, t2, what2, where2) in itertools.combinations(accesses, 2):
        between = plan[0, step:step2, 2]
        ordered = (between == 1).any() or ((between == 2).any() and t // 32 == t2 // 32)
        if t != t2 and where == where2 and 2 in (what, what2) and not ordered:
            return True
    return False
