"""The kernels' language means the same to the simulator and the compiler, and says no clearly."""

import math
import sys

import numpy as np
import pytest
from kernel_harness import KernelTests, library, simulated

from kernels import cuda, ptx
from kernels._host import empty
from kernels._lower import KernelError, lowered

ALL = 0xFFFFFFFF
HALF = 0.5
WEIGHTS = (0.25, 1.75, -3.5)
FLOATS = np.float32


@cuda.jit
def arithmetic(x, scale, shift, out):
    i = cuda.grid(1)
    if i < out.size:
        out[i] = x[i] * 1.1 + HALF * scale - math.pi + 1 / 3 + shift


@cuda.jit
def places(out):
    x, y, z = cuda.grid(3)
    nx, ny, nz = cuda.gridsize(3)
    if x < out.shape[2] and y < out.shape[1] and z < out.shape[0]:
        at = (cuda.blockIdx.z * cuda.blockDim.z + cuda.threadIdx.z) * ny * nx
        out[z, y, x] = at + y * nx + x + 1000 * nz + 100 * cuda.laneid + cuda.gridDim.y


@cuda.jit
def last_axis(x, out):
    i = cuda.grid(1)
    if i < x.shape[-1]:
        out[i] = x[x.shape[0] - 1, i]


def weighted(terms, absolute, mode):
    @cuda.jit
    def kernel(x, out):
        i = cuda.grid(1)
        parts = cuda.local.array(terms, FLOATS)
        for j in cuda.unroll(terms):
            parts[j] = WEIGHTS[j] * x[i + j]
        total = FLOATS(0)
        for j in cuda.unroll(terms - 1, -1, -1):
            if j % 2 == 0 and absolute:
                total += abs(parts[j])
            elif mode == "negative":
                total -= parts[j]
            else:
                total += parts[j]
        out[i] = total

    return kernel


WEIGHTED = [weighted(3, True, "negative"), weighted(2, False, None)]


@cuda.jit(device=True)
def both(a, b):
    return a + b, a - b


@cuda.jit
def butterfly(x, out):
    lane = cuda.laneid
    total, first = x[cuda.grid(1)], x[cuda.grid(1)]
    for step in cuda.unroll(5):
        total += cuda.shfl_xor_sync(ALL, total, 1 << step)
    up = cuda.shfl_up_sync(ALL, first, 1)
    down = cuda.shfl_down_sync(ALL, first, 2)
    fourth = cuda.shfl_sync(ALL, first, 32 + 3)
    high, low = both(total, fourth)
    out[0, lane], out[1, lane], out[2, lane], out[3, lane] = high, low, up, down


@cuda.jit
def votes(x, out):
    t = cuda.threadIdx.x
    positive = x[t] > 0
    n = cuda.syncthreads_count(np.int32(positive))
    every = cuda.syncthreads_and(np.int32(positive))
    some = cuda.syncthreads_or(np.int32(positive))
    out[0, t], out[1, t], out[2, t] = n, every, some
    out[3, t] = 1 if cuda.all_sync(ALL, positive) else 0
    out[4, t] = 1 if cuda.any_sync(ALL, positive) else 0
    out[5, t] = cuda.ballot_sync(ALL, positive)


@cuda.jit
def histogram(x, counts, largest, sums):
    mine = cuda.shared.array(8, np.int32)
    t, i = cuda.threadIdx.x, cuda.grid(1)
    if t < 8:
        mine[t] = 0
    cuda.syncthreads()
    if i < x.size:
        cuda.atomic.add(mine, x[i] % 8, 1)
        cuda.atomic.max(largest, 0, x[i])
        cuda.atomic.min(largest, 1, x[i])
        cuda.atomic.add(sums, (0, x[i] % 2), FLOATS(x[i]))
        cuda.atomic.sub(sums, (1, 0), FLOATS(1))
    cuda.syncthreads()
    if t < 8:
        cuda.atomic.add(counts, t, mine[t])


@cuda.jit
def tickets(lock, out):
    out[cuda.grid(1)] = cuda.atomic.add(lock, 0, 1)
    cuda.atomic.cas(lock, 1, 0, 7)
    cuda.atomic.cas(lock, 3, 5, 7)
    cuda.atomic.exch(lock, 2, 9)


@cuda.jit
def bits(x, out):
    """The words of float32 numbers, by way of dynamic shared memory seen as two dtypes."""
    numbers, words = cuda.shared.array(0, FLOATS), cuda.shared.array(0, np.uint32)
    t, n = cuda.threadIdx.x, cuda.blockDim.x
    i = cuda.grid(1)
    numbers[t] = x[i]
    cuda.syncthreads()
    out[i] = words[n - 1 - t]


@cuda.jit
def staged(x, out):
    """A copy by way of shared memory, two blocks of 64 numbers under way at a time."""
    stage = cuda.shared.array((2, 64), FLOATS)
    t = cuda.threadIdx.x
    steps = x.size // 64
    ptx.cp_async4(stage, t, x, t, 4)
    ptx.cp_async_commit()
    for step in range(steps):
        if step + 1 < steps:
            ptx.cp_async4(stage, (step + 1) % 2 * 64 + t, x, (step + 1) * 64 + t, 4)
        ptx.cp_async_commit()
        ptx.cp_async_wait1()
        cuda.syncthreads()
        out[step * 64 + t] = stage[step % 2, 63 - t]
        cuda.syncthreads()


@cuda.jit
def exchanged(x, out):
    """Neighbours swap by way of shared memory, within a warp."""
    mine = cuda.shared.array(64, FLOATS)
    t = cuda.threadIdx.x
    mine[t] = x[t]
    cuda.syncwarp()
    out[t] = mine[t ^ 1]


@cuda.jit(local_memory=True)
def looked_up(x, which, out):
    i = cuda.grid(1)
    local = cuda.local.array((2, 4), FLOATS)
    for j in range(8):
        local[j // 4, j % 4] = x[i] * j
    out[i] = local[which[i] // 4, which[i] % 4]


@cuda.jit
def numbers(x, n, small, large, flag, out):
    i = cuda.grid(1)
    if i < n:
        value = x[i, 1]
        out[i] = value * FLOATS(small) + FLOATS(large % 7) if flag else value


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def run_arithmetic(put, rng):
    x = normal(rng, 37)
    out = empty(y := put(x), x.shape)
    arithmetic[3, 16](y, 0.1, np.float32(2), out)
    want = x * 1.1 + 0.05 - math.pi + 1 / 3 + 2.0
    return [(out, want, 3e-7)]


def run_places(put, rng):
    out = empty(put(np.zeros(1, np.int32)), (3, 5, 7))
    places[(2, 3, 2), (4, 2, 2)](out)
    z, y, x = np.indices((3, 5, 7))
    lane = (z % 2 * 2 + y % 2) * 4 + x % 4
    return [(out, (z * 6 + y) * 8 + x + 4000 + 100 * lane + 3, 0)]


def run_last_axis(put, rng):
    x = normal(rng, 3, 5)
    out = empty(y := put(x), 5)
    last_axis[1, 8](y, out)
    return [(out, x[2], 0)]


def run_weighted(put, rng):
    x = normal(rng, 34)
    want = np.stack([w * x[j : j + 32].astype(float) for j, w in enumerate(WEIGHTS)])
    outs = [empty(y := put(x), 32) for _ in WEIGHTED]
    for kernel, out in zip(WEIGHTED, outs):
        kernel[1, 32](y, out)
    return [
        (outs[0], abs(want[0]) - want[1] + abs(want[2]), 3e-7),
        (outs[1], want[0] + want[1], 3e-7),
    ]


def run_butterfly(put, rng):
    x = normal(rng, 32)
    out = empty(y := put(x), (4, 32))
    butterfly[1, 32](y, out)
    total = x.astype(float).sum()
    up, down = np.r_[x[0], x[:-1]], np.r_[x[2:], x[-2:]]
    return [(out, np.stack([np.full(32, total + x[3]), np.full(32, total - x[3]), up, down]), 1e-6)]


def run_votes(put, rng):
    results = []
    for x in (normal(rng, 64), np.ones(64, np.float32), np.linspace(-40, 23, 64, dtype=np.float32)):
        out = empty(put(np.zeros(1, np.int64)), (6, 64))
        votes[1, 64](put(x), out)
        yes = x > 0
        warps = yes.reshape(2, 32)
        word = np.packbits(warps, axis=1, bitorder="little").view(np.int32)
        block = [[yes.sum()] * 64, [yes.all()] * 64, [yes.any()] * 64]
        warp = [np.repeat(each, 32) for each in (warps.all(1), warps.any(1), word)]
        results.append((out, np.array([*block, *warp], float), 0))
    return results


def run_histogram(put, rng):
    x = rng.integers(0, 1000, 150).astype(np.int32)
    counts, largest = put(np.zeros(8, np.int32)), put(np.array([-1, 5000], np.int32))
    sums = put(np.zeros((2, 2), np.float32))
    histogram[3, 64](put(x), counts, largest, sums)
    odd = [x[x % 2 == 0].sum(), x[x % 2 == 1].sum()]
    return [
        (counts, np.bincount(x % 8, minlength=8), 0),
        (largest, [x.max(), x.min()], 0),
        (sums, [odd, [-150, 0]], 0),
    ]


def run_tickets(put, rng):
    lock = put(np.zeros(4, np.int32))
    out = empty(lock, 40)
    tickets[2, 20](lock, out)
    got = np.sort(out.get() if hasattr(out, "get") else out)
    return [(got, np.arange(40), 0), (lock, [40, 7, 9, 0], 0)]


def run_bits(put, rng):
    x = normal(rng, 48)
    out = empty(y := put(x), 48, np.uint32)
    bits[2, 24, None, 96](y, out)
    return [(out, x.view(np.uint32).reshape(2, 24)[:, ::-1].reshape(-1), 0)]


def run_staged(put, rng):
    x = normal(rng, 256)
    out = empty(y := put(x), 256)
    staged[1, 64](y, out)
    return [(out, x.reshape(4, 64)[:, ::-1].reshape(-1), 0)]


def run_exchanged(put, rng):
    x = normal(rng, 64)
    out = empty(y := put(x), 64)
    exchanged[1, 64](y, out)
    return [(out, x.reshape(32, 2)[:, ::-1].reshape(-1), 0)]


def run_looked_up(put, rng):
    x, which = normal(rng, 32), rng.integers(0, 8, 32)
    out = empty(y := put(x), 32)
    looked_up[1, 32](y, put(which), out)
    return [(out, x.astype(float) * which, 1e-7)]


def run_numbers(put, rng):
    x = normal(rng, 9, 3)
    outs = [empty(y := put(x), 9) for _ in range(2)]
    for flag, out in zip((True, False), outs):
        numbers[1, 32](y[:, ::2], 9, np.uint8(3), 2**40 + 3, flag, out)
    return [(outs[0], x[:, 2].astype(float) * 3 + (2**40 + 3) % 7, 1e-7), (outs[1], x[:, 2], 0)]


class TestLanguage(KernelTests):
    modules = (sys.modules[__name__],)
    cases = {  # noqa: RUF012
        name.removeprefix("run_"): run
        for name, run in list(globals().items())
        if name[:4] == "run_"
    }

    def test_numbers_in_the_text_and_among_the_arguments_are_float32(self):
        assert ".f64" not in self.text("arithmetic")

    def test_an_unrolled_array_lives_in_registers(self):
        assert ".local" not in self.text("weighted")

    def test_a_branch_that_is_not_taken_is_not_compiled(self):
        first, second = self.texts("weighted")
        assert "abs.f" in first
        assert "abs.f" not in second

    def text(self, case):
        return self.texts(case)[0]

    def texts(self, case):
        pytest.importorskip("numba_cuda")
        launches = simulated(type(self), case).launches
        return [library(one.kernel, one.types).get_asm_str(cc=(9, 0)) for one in launches]


# What the language refuses


def lower(function):
    """The copy of a function for the compiler, names left as they are."""
    return lowered(function, lambda value: value, lambda i: i)


def test_names_of_floats_become_float32():
    def scaled(x):
        return x * HALF, WEIGHTS, math.pi, 1 / 4, -math.inf

    answers = lower(scaled)(np.float32(1))
    assert answers[1] == WEIGHTS
    assert [type(each) for each in (answers[0], *answers[1], *answers[2:])] == [np.float32] * 7


def test_an_index_that_is_known_is_left_to_the_compiler():
    def known(x):
        return x.shape[-1] + x[2 - 1]

    marked = lowered(known, lambda value: value, None)
    assert marked(np.array([4, 7])) == 2 + 7


def test_arithmetic_that_fails_in_a_branch_not_taken_is_no_error():
    def careful(x):
        divisor = 0
        if HALF > 1:
            x = x % (1 // (3 - 3))
        return x + divisor

    assert lower(careful)(4) == 4


def test_a_loop_is_unrolled_only_as_often_as_is_known():
    def unknown(n):
        for i in cuda.unroll(n):
            print(i)

    with pytest.raises(KernelError, match=r"test_kernels_language.py:\d+: unroll takes integers"):
        lower(unknown)


def test_a_loop_is_not_unrolled_without_end():
    def huge():
        for i in cuda.unroll(100_000):
            print(i)

    with pytest.raises(KernelError, match="unroll of 100000; at most 1024"):
        lower(huge)


def test_an_unrolled_loop_has_no_break_of_its_own():
    def broken(x):
        for i in cuda.unroll(4):
            if x[i] > 0:
                break

    with pytest.raises(KernelError, match="cannot break"):
        lower(broken)


def test_a_loop_inside_an_unrolled_loop_may_break():
    def nested(x):
        total = 0
        for i in cuda.unroll(2):
            for j in range(10):
                if j == 3 + i:
                    break
                total += x
        return total

    assert lower(nested)(1) == nested_twice(1)


def nested_twice(x):
    return 3 * x + 4 * x


def test_the_variable_of_an_unrolled_loop_is_no_others():
    def assigned():
        for i in cuda.unroll(4):
            i = 3
            print(i)

    def looped():
        for i in cuda.unroll(4):
            for i in range(3):
                print(i)

    def unrolled():
        for i in cuda.unroll(4):
            for i in cuda.unroll(3):
                print(i)

    for function in (assigned, looped, unrolled):
        with pytest.raises(KernelError, match=r"cannot be assigned|variable of its own"):
            lower(function)


def test_a_kernel_is_a_function_with_source():
    with pytest.raises(KernelError, match="plain function"):
        lower(lambda x: x)
    space = {}
    exec("def kernel(x):\n    x[0] = 1", space)
    with pytest.raises(KernelError, match="source cannot be read"):
        lower(space["kernel"])
