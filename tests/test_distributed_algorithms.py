"""Collectives by every algorithm: right results, and the textbook's bytes and seconds exactly."""

import numpy as np
import pytest

from minigrad import distributed as dist
from minigrad.distributed.algorithms import CHOICES, SMALL, chosen, cost

PAIRS = [(collective, algorithm) for collective in CHOICES for algorithm in CHOICES[collective]]
ROOTED = ("broadcast", "reduce", "scatter", "gather")
SIZES = (1, 2, 3, 4, 5, 7, 8, 12)


def shares(X, axis):
    """What all_to_all does: (P, …, P·n, …) with the pieces of rank r to rank r."""
    P = len(X)
    pieces = [np.split(x, P, axis) for x in X]
    return np.stack([np.concatenate([pieces[s][r] for s in range(P)], axis) for r in range(P)])


def expected(collective, X, root, axis):
    """What each rank must get, from all ranks' x (P, …)."""
    P, total = len(X), X.sum(0)
    joined = np.concatenate(list(X), axis)
    at_root = lambda value: [value if r == root else np.zeros_like(value) for r in range(P)]
    return {
        "all_reduce": [total] * P,
        "broadcast": [X[root]] * P,
        "reduce": at_root(total),
        "all_gather": [joined] * P,
        "reduce_scatter": np.split(total, P, axis),
        "scatter": np.split(X[root], P, axis),
        "gather": at_root(joined),
        "all_to_all": list(shares(X, axis)),
    }[collective]


def call(comm, collective, X, algorithm, root, axis):
    x = X[comm.rank]
    options = {"root": root} if collective in ROOTED else {}
    if collective == "all_to_all":
        options = {"split_axis": axis, "concat_axis": axis}
    elif collective not in ("all_reduce", "broadcast", "reduce"):
        options["axis"] = axis
    return getattr(comm, collective)(x, algorithm=algorithm, **options)


@pytest.mark.parametrize(("collective", "algorithm"), PAIRS)
@pytest.mark.parametrize("size", SIZES)
def test_every_algorithm_gives_what_the_collective_is(collective, algorithm, size):
    rng = np.random.default_rng(size)
    X = rng.integers(-50, 50, (size, 2 * size, 3, size)).astype(np.float64)  # exact sums
    X[:, 0] += np.arange(size)[:, None, None] * 1000
    for root, axis in {(0, 0), (size - 1, 2), (size // 2, -3)}:
        before = X.copy()
        run = dist.run(call, size, args=(collective, X, algorithm, root, axis))
        for got, want in zip(run, expected(collective, X, root, axis)):
            np.testing.assert_array_equal(got, want)
            assert got.dtype == X.dtype and got.flags.writeable
            assert not np.shares_memory(got, X)
        np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("algorithm", CHOICES["all_reduce"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 3), (17,)])
def test_all_reduce_takes_any_shape(algorithm, size, shape):
    X = np.random.default_rng(1).integers(-9, 9, (size, *shape)).astype(np.float32)
    for got in dist.run(lambda comm: comm.all_reduce(X[comm.rank], algorithm=algorithm), size):
        np.testing.assert_array_equal(got, X.sum(0))


@pytest.mark.parametrize("algorithm", CHOICES["all_reduce"])
def test_all_ranks_agree_on_a_sum_to_the_last_bit(algorithm):
    X = np.random.default_rng(2).normal(size=(7, 50)).astype(np.float32)
    run = dist.run(lambda comm: comm.all_reduce(X[comm.rank], algorithm=algorithm), 7)
    assert all((got == run[0]).all() for got in run)
    np.testing.assert_allclose(run[0], X.astype(np.float64).sum(0), rtol=0, atol=3e-6)


@pytest.mark.parametrize(
    ("op", "want"),
    [("prod", np.prod), ("max", np.max), ("min", np.min), ("mean", np.mean), ("sum", np.sum)],
)
def test_what_ranks_can_make_together(op, want):
    X = np.random.default_rng(3).normal(size=(5, 10))
    both = lambda comm: (
        comm.all_reduce(X[comm.rank], op),
        comm.reduce(X[comm.rank], op, 3),
        comm.reduce_scatter(X[comm.rank], op),
    )
    run = dist.run(both, 5)
    total = want(X, axis=0)
    for rank, (everywhere, at_root, share) in enumerate(run):
        np.testing.assert_allclose(everywhere, total, rtol=1e-14)
        np.testing.assert_allclose(at_root, total if rank == 3 else 0 * total, rtol=1e-14)
        np.testing.assert_allclose(share, np.split(total, 5)[rank], rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8", "uint64", "bool", "float64"])
def test_dtypes_are_kept(dtype):
    dtype = np.dtype(bool) if dtype == "bool" else np.dtype(getattr(np, dtype, None) or bf16())
    x = np.ones(6, dtype)
    run = dist.run(lambda comm: (comm.all_gather(x), comm.all_to_all(x), comm.broadcast(x)), 3)
    assert all(got.dtype == dtype and (got == 1).all() for results in run for got in results)


def bf16():
    import minigrad as mg

    return mg.bfloat16


def largest(collective, n, size):
    """Elements of x where the largest array has n."""
    return n // size if collective in ("all_gather", "gather") else n


@pytest.mark.parametrize(("collective", "algorithm"), PAIRS)
@pytest.mark.parametrize("size", SIZES)
def test_bytes_are_the_textbook_s(collective, algorithm, size):
    whole = collective in ("all_reduce", "broadcast", "reduce")
    for n in (size * 6, size * 6 + 5 if whole else size * 2, 1 if whole else size):
        for root in {0, size - 1}:
            x = np.ones(largest(collective, n, size), np.float32)
            run = dist.run(call, size, args=(collective, [x] * size, algorithm, root, 0))
            want = cost.elements_sent(collective, algorithm, size, n, root)
            assert run.traffic.sent(collective=collective) == [4 * each for each in want]
            assert run.traffic.bytes() == sum(run.traffic.received())


@pytest.mark.parametrize(("P", "n"), [(2, 10), (4, 100), (8, 8), (5, 15)])
def test_the_formulas_that_everybody_quotes(P, n):
    """2(P − 1)/P·n of the ring, written out once more by hand."""

    def sent(collective, algorithm):
        arguments = (collective, [np.ones(n, np.int8)] * P, algorithm, 0, 0)
        return dist.run(call, P, args=arguments).traffic.sent()

    assert sent("all_reduce", "ring") == [2 * (P - 1) * n // P] * P
    assert sent("reduce_scatter", "ring") == [(P - 1) * n // P] * P
    assert sent("all_gather", "ring") == [(P - 1) * n] * P
    assert sent("all_to_all", "direct") == [(P - 1) * n // P] * P
    assert sent("broadcast", "direct") == [(P - 1) * n] + [0] * (P - 1)


def test_the_ring_of_uneven_chunks():
    """7 elements over 4 ranks are chunks of 1, 2, 2, 2; a rank sends all chunks but one, twice."""
    run = dist.run(lambda comm: comm.all_reduce(np.ones(7, np.int8), algorithm="ring"), 4)
    assert run.traffic.sent() == [14 - 1 - 2, 14 - 2 - 2, 14 - 2 - 2, 14 - 2 - 1]
    assert run.traffic.bytes() == 2 * 3 * 7


def test_halving_sends_most_to_the_nearest():
    """24 elements over 8 ranks: halves to rank XOR 1, quarters to XOR 2, eighths to XOR 4."""
    x = np.ones(24, np.int8)
    run = dist.run(lambda comm: comm.all_reduce(x, algorithm="halving and doubling"), 8)
    for rank in range(8):
        sent = [run.traffic.bytes(source=rank, destination=rank ^ far) for far in (1, 2, 4)]
        assert sent == [2 * 12, 2 * 6, 2 * 3]


def test_halving_of_uneven_chunks():
    """7 elements over 4 ranks are chunks of 1, 2, 2, 2. All send 7 in exchange for a half, halves
    of 3 and 4; then ranks 0 and 2 share the first one, and send its 3 elements, 1 and 3 the other.
    """
    x = np.ones(7, np.int8)
    run = dist.run(lambda comm: comm.all_reduce(x, algorithm="halving and doubling"), 4)
    assert run.traffic.sent() == [7 + 3, 7 + 4, 7 + 3, 7 + 4]


@pytest.mark.parametrize(("collective", "algorithm"), PAIRS)
@pytest.mark.parametrize("size", [2, 4, 16])
def test_seconds_are_the_textbook_s(collective, algorithm, size):
    n = size * 30
    x = np.ones(largest(collective, n, size), np.float32)
    wires = dist.FullyConnected(alpha=3e-6, bandwidth=1e8)
    run = dist.run(call, size, args=(collective, [x] * size, algorithm, 0, 0), topology=wires)
    want = cost.seconds(collective, algorithm, size, 4 * n, 3e-6, 1e-8)
    assert run.seconds == pytest.approx(want, rel=1e-12)


def test_few_bytes_take_few_steps_and_many_the_ring():
    assert chosen("all_reduce", None, SMALL) == "recursive doubling"
    assert chosen("all_reduce", None, SMALL + 1) == "ring"
    assert chosen("all_reduce", "tree", 1) == "tree"
    run = dist.run(lambda comm: comm.all_reduce(np.ones(4)), 8)
    assert run.traffic.messages() == 8 * 3
