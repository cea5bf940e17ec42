"""Data parallelism: equal to one device, in the bytes of the formula, hidden behind backward."""

import functools

import numpy as np
import pytest
from distributed_cases.data_parallel import CASES, DRAWN, built

import minigrad as mg
from minigrad import distributed as dist
from minigrad import engine, nn, optim
from minigrad.distributed.data_parallel import DataParallel, in_buckets, local_batch
from minigrad.distributed.gradients import all_reduce_gradients
from minigrad.distributed.zero import ZeRO
from minigrad.perf import live_bytes
from minigrad.training import next_token_loss

BANDWIDTH = 1e9  # bytes a second
WIRES = dist.FullyConnected(alpha=0.0, bandwidth=BANDWIDTH)


def layers(count=3, width=24):
    """Equal layers without biases, 4·width² bytes of weights each."""
    return nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(count)))


def one_step(comm, model=layers, steps=1, **options):
    """A step of backward passes on data that differ by rank; the seconds it took, and the model."""
    module = model()
    parallel = DataParallel(module, comm, **options)
    comm.barrier()
    begin = comm.clock
    x = np.random.default_rng(comm.rank).normal(size=(2, 24)).astype(np.float32)
    for step in range(steps):
        parallel.backward((parallel(x) ** 2).sum(), reduce=step == steps - 1)
    return comm.clock - begin, module


@pytest.mark.parametrize("name", CASES)
def test_training_equals_one_device(name):
    case = CASES[name]
    case.check(dist.run(case.fn, case.size).results)


# When a gradient is complete


def graph():
    """(loss, {name: leaf}): a chain in which the middle leaf is used twice."""
    rng = np.random.default_rng(0)
    leaves = {name: mg.tensor(rng.normal(size=(2, 2)), requires_grad=True) for name in "abc"}
    x = leaves["a"] @ leaves["b"]
    y = (x * leaves["b"]) @ leaves["c"]
    return (y**2).sum(), leaves


def test_a_leaf_is_handed_over_once_complete_and_before_the_walk_goes_on():
    loss, leaves = graph()
    loss.backward(retain_graph=True)
    wanted = {name: leaf.grad.numpy().copy() for name, leaf in leaves.items()}
    names, seen = {leaf: name for name, leaf in leaves.items()}, []

    def taken(tensor, g):
        seen.append((names[tensor], g.copy(), [n for n, leaf in leaves.items() if leaf.grad]))
        return True

    for leaf in leaves.values():
        leaf.grad = None
    with engine.state(on_leaf=taken):
        loss.backward()
    # c's product is walked first; then the two uses of b, the second beside that of a.
    assert [name for name, *_ in seen] in (["c", "a", "b"], ["c", "b", "a"])
    for name, g, _ in seen:
        np.testing.assert_allclose(g, wanted[name], rtol=1e-14)
    assert all(leaf.grad is None for leaf in leaves.values())


def test_a_leaf_that_is_not_taken_gets_its_grad_as_ever():
    loss, leaves = graph()
    with engine.state(on_leaf=lambda tensor, g: tensor is leaves["b"]):
        loss.backward()
    assert leaves["b"].grad is None
    assert leaves["a"].grad.shape == leaves["c"].grad.shape == (2, 2)


def test_transforms_hand_nothing_over():
    called = []
    with engine.state(on_leaf=lambda *each: called.append(each)):
        gradient = mg.grad(lambda w: (w**3).sum())(np.array([1.0, -2.0]))
    np.testing.assert_allclose(gradient, [3, 12])
    assert not called


def test_a_layer_is_complete_while_those_below_it_are_still_to_come():
    order = []
    with engine.state(on_leaf=lambda tensor, g: order.append(tensor.shape) or True):
        deep = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4), nn.Linear(4, 5))
        deep(np.ones((1, 2), np.float32)).sum().backward()
    assert [max(shape) for shape in order] == [5, 5, 4, 4, 3, 3]


# Buckets and bytes


def test_buckets_keep_the_order_and_hold_one_dtype_and_at_most_so_many_bytes():
    sizes = [(5, "f4"), (3, "f4"), (3, "f4"), (40, "f4"), (1, "f8"), (2, "f8")]
    parameters = [nn.Parameter(np.zeros(n), dtype=dtype) for n, dtype in sizes]
    held = [[(p.size, p.dtype.str[1:]) for p in bucket] for bucket in in_buckets(parameters, 32)]
    assert held == [sizes[:2], sizes[2:3], sizes[3:4], sizes[4:]]


@pytest.mark.parametrize("size", [2, 3, 4, 8])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_ring_step_sends_twice_the_gradients_less_a_share(size, steps):
    main = functools.partial(one_step, steps=steps, algorithm="ring", bucket_bytes=5000)
    run = dist.run(main, size)
    n = 3 * 24 * 24 * 4  # bytes of gradients
    sent = run.traffic.sent(phase="gradients")
    assert sent == [2 * (size - 1) * n // size] * size


def test_bytes_of_a_ring_whose_shares_are_uneven():
    """29 numbers on 3 ranks, in chunks of 10, 10 and 9: a rank sends all but one of them, twice."""

    def main(comm):
        parallel = DataParallel(nn.Linear(29, 1, bias=False), comm, algorithm="ring")
        parallel.backward(parallel(np.ones((2, 29), np.float32)).sum())

    sent = dist.run(main, 3).traffic.sent(phase="gradients")
    assert sum(sent) == 3 * 2 * (3 - 1) * 29 * 4 / 3
    assert all(2 * (29 - 10) * 4 <= each <= 2 * (29 - 9) * 4 for each in sent)


def test_a_bucket_of_many_parameters_is_one_call():
    calls = {
        nbytes: dist.run(
            functools.partial(one_step, bucket_bytes=nbytes, algorithm="ring"), 2
        ).traffic.messages(source=0, phase="gradients")
        for nbytes in (1, 2 * 24 * 24 * 4, 2**20)
    }
    assert list(calls.values()) == [3 * 2, 2 * 2, 1 * 2]


def test_gradients_are_held_once():
    def main(comm):
        parallel = DataParallel(built(), comm)
        x, y = DRAWN[0, :, :-1], DRAWN[0, :, 1:]
        before = live_bytes(parallel, without=[comm])
        parallel.backward(next_token_loss(parallel, x, y))
        return before, live_bytes(parallel, without=[comm])

    n = 8 * built().num_parameters
    assert dist.run(main, 2).results == [(2 * n, 2 * n)] * 2


def test_every_rank_begins_with_the_parameters_of_rank_0():
    def main(comm):
        DataParallel(module := built(seed=comm.rank), comm)
        return module.state_dict()

    wanted = built(seed=0).state_dict()
    for state in dist.run(main, 3):
        assert all(np.array_equal(state[name], wanted[name]) for name in wanted)


# Overlap


@pytest.mark.parametrize("backward", [20e-6, 5e-6], ids=["compute is slower", "wires are slower"])
def test_overlap_hides_all_but_what_must_follow(backward):
    count, n = 3, 24 * 24
    options = dict(bucket_bytes=1, algorithm="ring", work=backward / (2 * n))
    seconds = [
        dist.run(functools.partial(one_step, overlap=overlap, **options), 4, topology=WIRES)[0][0]
        for overlap in (True, False)
    ]
    compute = count * (backward / 2 + backward)
    bucket = 2 * 3 / 4 * 4 * n / BANDWIDTH  # seconds: 2(P − 1)/P·bytes/bandwidth, here 3.456 µs
    first = count * backward / 2 + backward  # when the first bucket can leave
    assert seconds[0] == pytest.approx(max(compute + bucket, first + count * bucket), rel=1e-9)
    assert seconds[1] == pytest.approx(compute + count * bucket, rel=1e-9)


def test_ranks_that_complete_gradients_in_another_order_still_agree():
    class Crossed(nn.Module):
        def __init__(self, swapped):
            self.one, self.two = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
            self.swapped = swapped

        def forward(self, x):
            return self.one(self.two(x)) if self.swapped else self.two(self.one(x))

    def main(comm):
        mg.manual_seed(1)
        module = Crossed(swapped=comm.rank == 1).astype("float64")
        parallel = DataParallel(module, comm, bucket_bytes=1)
        x = np.arange(8.0).reshape(2, 4)
        parallel.backward(parallel(x).sum())
        own = Crossed(swapped=comm.rank == 1).astype("float64")
        own.load_state_dict(module.state_dict())
        own(x).sum().backward()
        return [p.grad.data for p in module.parameters()], [p.grad.data for p in own.parameters()]

    run = dist.run(main, 2)
    for place in range(2):
        mean = (run[0][1][place] + run[1][1][place]) / 2
        for rank in range(2):
            np.testing.assert_allclose(run[rank][0][place], mean, rtol=1e-13)


# Gradients in one message, without buckets


def test_gradients_that_some_ranks_have_are_reduced_and_others_left_alone():
    values = {"everywhere": [1.0, 5.0, 3.0], "on one": [None, 6.0, None], "nowhere": 3 * [None]}

    def main(comm, op):
        parameters = {name: nn.Parameter(np.zeros((2, 2))) for name in [*values, "frozen"]}
        parameters["everywhere"].data = np.zeros((2, 2))  # float64, a message of its own
        for name, each in values.items():
            if (value := each[comm.rank]) is not None:
                p = parameters[name]
                p.grad = mg.Tensor.constant(np.full(p.shape, value, p.dtype))
        frozen = parameters["frozen"].requires_grad_(False)
        frozen.grad = mg.Tensor.constant(np.ones((2, 2), "f4")) if comm.rank == 1 else None
        all_reduce_gradients(iter(parameters.values()), comm, op)
        grads = {name: p.grad for name, p in parameters.items()}
        return {name: None if g is None else (g.dtype.str[1:], g.data) for name, g in grads.items()}

    for op, sums in (("sum", (9.0, 6.0)), ("mean", (3.0, 2.0))):
        for rank, found in enumerate(dist.run(main, 3, args=(op,))):
            assert found["nowhere"] is None
            assert (found["frozen"] is None) == (rank != 1)
            assert [found[name][0] for name in ("everywhere", "on one")] == ["f8", "f4"]
            for name, value in zip(("everywhere", "on one"), sums):
                np.testing.assert_array_equal(found[name][1], np.full((2, 2), value))


def test_no_gradients_are_reduced_without_a_message():
    assert dist.run(lambda comm: all_reduce_gradients([], comm), 3).traffic.bytes() == 0


# Bad input


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="rank 0: a batch of 10 does not divide into 4 equal"):
        dist.run(lambda comm: local_batch(np.zeros((10, 2)), comm), 4)


class Forgetful(nn.Module):
    def __init__(self):
        self.used, self.left = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x, both):
        return self.used(x) + self.left(x) if both else self.used(x)


def forgetting(comm, **options):
    parallel = DataParallel(module := Forgetful(), comm, **options)
    x = np.ones((2, 3), np.float32)
    parallel.backward(parallel(x, both=comm.rank == 0).sum())
    return module.left.weight.grad.data


def test_a_parameter_without_gradient_is_named():
    with pytest.raises(dist.DistributedError, match=r"rank 1: no gradient came to left\."):
        dist.run(forgetting, 2)


def test_a_parameter_without_gradient_can_count_as_zero():
    for gradient in dist.run(functools.partial(forgetting, allow_unused=True), 2):
        np.testing.assert_allclose(gradient, np.full((3, 2), 2 / 2))


def test_a_frozen_parameter_is_left_alone():
    def main(comm):
        module = Forgetful()
        for p in module.left.parameters():
            p.requires_grad_(False)
        parallel = DataParallel(module, comm)
        parallel.backward(parallel(np.ones((2, 3), np.float32), both=True).sum())
        return module.left.weight.grad, module.used.weight.grad.shape

    assert dist.run(main, 2).results == [(None, (3, 2))] * 2


CHANGES = {
    "left.weight was frozen .* is float32 on cpu now": lambda m: m.left.weight.requires_grad_(True),
    "used.weight was float32 on cpu .* is frozen now": lambda m: m.used.weight.requires_grad_(
        False
    ),
    "used.weight was float32 .* is float64 on cpu now": lambda m: m.astype("float64"),
}


@pytest.mark.parametrize("told", CHANGES)
def test_parameters_that_change_after_wrapping_are_refused(told):
    def main(comm):
        module = Forgetful()
        for p in module.left.parameters():
            p.requires_grad_(False)
        parallel = DataParallel(module, comm)
        CHANGES[told](module)
        x = np.ones((2, 3), module.used.weight.dtype)
        parallel.backward(parallel(x, both=True).sum())

    with pytest.raises(ValueError, match=rf"DataParallel: rank \d: {told}; make another one"):
        dist.run(main, 2)


@pytest.mark.parametrize(
    "make",
    [DataParallel, lambda module, comm: ZeRO(module, comm, 1, optim.SGD)],
    ids=["DP", "ZeRO"],
)
def test_uneven_shares_need_a_weight(make):
    def main(comm, weight):
        parallel = make(layers(1, 3), comm)
        x = np.ones((2 + comm.rank // 2, 3), np.float32)
        parallel.backward(parallel(x).sum(), weight=len(x) if weight else None)

    dist.run(main, 3, args=(True,))
    message = r"rank \d has [23] rows, as [12] of 3 ranks do.*backward\(loss, weight=rows\)"
    with pytest.raises(ValueError, match=message):
        dist.run(main, 3, args=(False,))


def test_a_weight_must_be_positive():
    def main(comm):
        parallel = DataParallel(nn.Linear(3, 2), comm)
        parallel.backward(parallel(np.ones((2, 3), np.float32)).sum(), weight=comm.rank)

    with pytest.raises(ValueError, match="backward: rank 0: weight must be positive, got 0"):
        dist.run(main, 2)


@pytest.mark.parametrize("what", ["dtype", "shape"])
def test_ranks_with_other_models_are_told_apart(what):
    def main(comm):
        width = 5 if what == "shape" and comm.rank else 4
        model = nn.Linear(3, width)
        DataParallel(model.astype("float64") if what == "dtype" and comm.rank else model, comm)

    with pytest.raises(dist.DistributedError, match=f"ranks do not agree.*differ in the {what}"):
        dist.run(main, 2)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="bucket_bytes must be positive, got 0"):
        dist.run(lambda comm: DataParallel(nn.Linear(2, 2), comm, bucket_bytes=0), 1)
    with pytest.raises(ValueError, match="no parameters that require gradients"):
        dist.run(lambda comm: DataParallel(nn.Dropout(0.1), comm), 1)
