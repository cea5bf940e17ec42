"""The tests that every kernel stands would notice a kernel that is wrong."""

import sys

import kernel_harness
import numpy as np
import pytest
from kernel_harness import (
    KernelTests,
    Launched,
    barriers,
    chosen,
    compare,
    compiled,
    kernels,
    races_of,
    without,
)

from kernels import cuda, ptx
from kernels._host import empty

HERE = sys.modules[__name__]
F32 = np.float32


@cuda.jit
def doubled(x, out):
    i = cuda.grid(1)
    if i < out.size:
        out[i] = 2 * x[i]


@cuda.jit
def all_but_last(x, out):
    i = cuda.grid(1)
    if i < out.size - 1:
        out[i] = 2 * x[i]


@cuda.jit
def racy(x, out):
    s = cuda.shared.array(32, F32)
    t = cuda.threadIdx.x
    s[t] = x[t]
    out[t] = 2 * x[t] if s[t ^ 1] != 123 else 0


@cuda.jit
def needless(x, out):
    t = cuda.threadIdx.x
    cuda.syncthreads()
    out[t] = 2 * x[t]


@cuda.jit(device=True)
def meet(x):
    value = 2 * x
    cuda.syncthreads()
    return value


@cuda.jit
def needed(x, out):
    s = cuda.shared.array(32, F32)
    t = cuda.threadIdx.x
    n = cuda.syncthreads_count(1)
    ptx.cp_async4(s, t, x, n - 1 - t, 4)
    ptx.cp_async_commit()
    ptx.cp_async_wait0()
    value = meet(s[t])
    s[n - 1 - t] = value
    cuda.syncwarp()
    out[t] = s[t]


@cuda.jit
def abandoned(x, out):
    """Waits for a copy that it has no use for."""
    s = cuda.shared.array(32, F32)
    t = cuda.threadIdx.x
    ptx.cp_async4(s, t, x, t, 4)
    ptx.cp_async_commit()
    out[t] = 2 * x[t]
    ptx.cp_async_wait0()


@cuda.jit
def doubles(x, out):
    i = cuda.grid(1)
    if i < out.size:
        out[i] = np.float64(x[i]) * x[i] + x[i]


@cuda.jit
def spilling(x, out):
    local = cuda.local.array(64, F32)
    for i in range(64):
        local[np.int32(x[i])] += 1
    out[0] = local[np.int32(x[0])]


def case(kernel, want=2.0):
    def run(put, rng):
        x = rng.standard_normal(32).astype(F32)
        out = empty(y := put(x), 32)
        kernel[1, 32](y, out)
        return [(out, want * x.astype(float), 1e-6)]

    return run


def suite(kernel, **options):
    """The tests of one kernel of this file, with a class of their own."""
    return type(
        "Tests", (KernelTests,), {"modules": (HERE,), "cases": {"it": case(kernel)}} | options
    )


def barrier(function, name):
    return next(each for each in barriers(HERE) if (each.function, each.name) == (function, name))


def test_a_right_kernel_stands_the_tests():
    tests = suite(doubled)()
    tests.test_is_right_on_the_simulator("it")
    tests.test_has_no_races_on_the_simulator("it")
    tests.test_every_kernel_has_a_case("test_kernels_harness.py: doubled")


def test_a_wrong_result_is_noticed():
    tests = type("Tests", (KernelTests,), {"cases": {"it": case(doubled, want=2.001)}})()
    with pytest.raises(AssertionError, match=r"32 of 32 are wrong, 0 of them NaN"):
        tests.test_is_right_on_the_simulator("it")


def test_an_element_that_nobody_writes_is_noticed():
    with pytest.raises(AssertionError, match=r"1 of 32 are wrong, 1 of them NaN, .* at \(31,\)"):
        suite(all_but_last)().test_is_right_on_the_simulator("it")


def test_a_shape_an_infinity_and_a_missing_nan_are_noticed():
    ones = np.ones(3)
    for got, want in [
        (ones, np.ones((3, 1))),
        (ones, np.array([1, np.inf, 1])),
        (np.array([1, -np.inf, 1]), np.array([1, np.inf, 1])),
        (np.array([1, np.inf, 1]), ones),
        (ones, np.array([1, np.nan, 1])),
    ]:
        with pytest.raises(AssertionError):
            compare([(got, want, 1e-3)])
    compare([(np.array([-np.inf, 1.0004]), np.array([-np.inf, 1.0]), 1e-3)])


def test_a_race_that_does_no_harm_here_is_noticed():
    tests = suite(racy)()
    tests.test_is_right_on_the_simulator("it")
    with pytest.raises(AssertionError, match=r"s\[0\]: write by thread 0 .* read by thread 1"):
        tests.test_has_no_races_on_the_simulator("it")


def test_a_kernel_without_a_case_is_noticed():
    with pytest.raises(AssertionError, match="no case launches"):
        suite(doubled)().test_every_kernel_has_a_case("test_kernels_harness.py: racy")


def test_kernels_and_barriers_are_found_in_the_source():
    names = (
        "doubled",
        "all_but_last",
        "racy",
        "needless",
        "needed",
        "abandoned",
        "doubles",
        "spilling",
    )
    assert kernels(HERE)[:8] == [f"test_kernels_harness.py: {name}" for name in names]
    found = [(each.function, each.name) for each in barriers(HERE)]
    assert found == [
        ("needless", "syncthreads"),
        ("meet", "syncthreads"),
        ("needed", "syncthreads_count"),
        ("needed", "cp_async_wait0"),
        ("needed", "syncwarp"),
        ("abandoned", "cp_async_wait0"),
        ("counting", "syncthreads_count"),
    ]


def test_a_needless_barrier_is_noticed():
    with pytest.raises(pytest.fail.Exception, match=r"can be deleted unnoticed \(tried needless\)"):
        suite(needless)().test_deleting_a_barrier_is_noticed(barrier("needless", "syncthreads"))


def test_a_barrier_that_no_case_reaches_is_noticed():
    with pytest.raises(AssertionError, match="no case reaches"):
        suite(doubled)().test_deleting_a_barrier_is_noticed(barrier("needless", "syncthreads"))


def test_needed_barriers_are_needed_in_device_functions_too():
    tests = suite(needed)()
    tests.test_is_right_on_the_simulator("it")
    tests.test_has_no_races_on_the_simulator("it")
    for name in ("syncthreads_count", "cp_async_wait0", "syncwarp"):
        tests.test_deleting_a_barrier_is_noticed(barrier("needed", name))
    tests.test_deleting_a_barrier_is_noticed(barrier("meet", "syncthreads"))


def test_a_wait_at_the_end_is_needed_though_nobody_reads():
    suite(abandoned)().test_deleting_a_barrier_is_noticed(barrier("abandoned", "cp_async_wait0"))


def test_a_barrier_that_answers_is_deleted_and_its_answer_kept():
    @cuda.jit
    def counting(x, out):
        s = cuda.shared.array(32, F32)
        t = cuda.threadIdx.x
        s[t] = x[t]
        n = cuda.syncthreads_count(1)
        out[t] = s[n - 1 - t]

    out = np.zeros(32, F32)
    one = Launched(counting[1, 32], [np.ones(32, F32), out], [], 0)
    for function in (counting.function, without(counting.function, counted := barriers(HERE)[-1])):
        found, error = races_of(one, function)
        assert error is None
        assert bool(found) == (function is not counting.function)
    assert counted.answers


def test_a_barrier_can_be_excused():
    excused = {"needless: syncthreads": "it is a matter of taste"}
    with pytest.raises(pytest.skip.Exception, match="a matter of taste"):
        suite(needless, unnoticed=excused)().test_deleting_a_barrier_is_noticed(
            barrier("needless", "syncthreads")
        )


def test_a_launch_is_made_again_with_the_arguments_that_it_had():
    out = np.zeros(32, F32)
    one = Launched(racy[1, 32], [np.ones(32, F32), out], [], 0)
    (race,), error = races_of(one, racy.function)
    assert error is None
    assert race.memory.name == "s"
    assert not out.any()


def test_without_a_compiler_the_tests_name_what_brings_one(monkeypatch):
    monkeypatch.setattr(kernel_harness, "ptxas", lambda: None)
    with pytest.raises(pytest.skip.Exception, match="needs the extra `ptx`"):
        compiled(all_but_last, ((np.dtype(F32), 1, True),) * 2, (9, 0))


def test_of_many_variants_the_first_and_the_last_are_compiled_each_time():
    def scaled(factor):
        @cuda.jit
        def kernel(x, out):
            out[cuda.grid(1)] = factor * x[cuda.grid(1)]

        return kernel

    variants = [scaled(factor) for factor in (1, 2, 3)]
    cases = {str(i): case(kernel, i + 1) for i, kernel in enumerate(variants)}
    tests = type("Tests", (KernelTests,), {"cases": cases})
    assert {kernel for kernel, _ in chosen(tests)} == {variants[0], variants[2]}


@pytest.mark.parametrize(
    ("kernel", "complaint"),
    [(doubled, ""), (doubles, "computes in float64"), (spilling, "256 bytes stack frame")],
)
def test_float64_and_local_memory_are_noticed(kernel, complaint):
    types = ((np.dtype(F32), 1, True),) * 2
    assert compiled(kernel, types, (8, 0)).startswith(complaint)
