"""Mixture of experts, on one device and with the experts divided among ranks."""

import math

import numpy as np
import pytest
from distributed_cases import expert_parallel as cases

import minigrad as mg
from minigrad import distributed as dist
from minigrad import nn
from minigrad.distributed.expert_parallel import ExpertParallel, average_gradients, expert_parallel
from minigrad.nn.experts import balance_loss, dispatch

RNG = np.random.default_rng(0)


def layer(top_k=2, n_experts=4, seed=3, **settings):
    with nn.init.seeded(seed):
        return nn.MixtureOfExperts(6, n_experts, top_k, 5, **settings).astype("float64")


# One device


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_the_layer_is_the_sum_of_gate_times_expert_by_hand(top_k):
    moe = layer(top_k, gates="all" if top_k == 1 else "chosen")
    x = RNG.normal(size=(2, 5, 6))
    y = moe(mg.tensor(x)).numpy()
    for b, t in np.ndindex(2, 5):
        scores = x[b, t] @ moe.router.weight.data
        best = sorted(range(4), key=lambda e: -scores[e])[:top_k]
        among = range(4) if top_k == 1 else best
        total = sum(math.exp(scores[e]) for e in among)
        want = sum(
            math.exp(scores[e]) / total * moe.experts[e](x[b, t : t + 1]).numpy()[0] for e in best
        )
        np.testing.assert_allclose(y[b, t], want, rtol=0, atol=1e-13)


def test_its_gradients_are_those_of_finite_differences():
    moe = layer(activation="gelu")
    x, g = RNG.normal(size=(2, 7, 6))
    names = [name for name, _ in moe.named_parameters()]

    def loss(*arrays):
        y = nn.functional_call(moe, dict(zip(names, arrays[1:])), arrays[0])
        return (y * g).sum() + moe.auxiliary_loss

    mg.check_grads(loss, (x, *[p.data for p in moe.parameters()]), order=1)


def test_dispatch_queues_first_choices_before_second_and_earlier_tokens_before_later():
    experts = np.array([[0, 1], [2, 0], [0, 2], [0, 1]])
    token, choice, counts = dispatch(experts, 4)
    assert token.tolist() == [0, 2, 3, 1, 0, 3, 1, 2]
    assert choice.tolist() == [0, 0, 0, 1, 1, 1, 0, 1]
    assert counts.tolist() == [4, 2, 2, 0]
    token, choice, counts = dispatch(experts, 4, capacity=2)
    assert token.tolist() == [0, 2, 0, 3, 1, 2]
    assert choice.tolist() == [0, 0, 1, 1, 0, 1]
    assert counts.tolist() == [2, 2, 2, 0]


def test_a_token_that_is_dropped_by_all_its_experts_gets_zeros():
    moe = layer(1, gates="all", capacity_factor=0.25)  # ⌈0.25·1·8/4⌉ = 1 place an expert
    x = np.repeat(RNG.normal(size=(1, 6)), 8, axis=0)  # all choose the same expert
    y = moe(mg.tensor(x)).numpy()
    assert moe.dropped == 7
    assert sorted(moe.load.tolist()) == [0, 0, 0, 8]
    assert np.abs(y[0]).min() > 0
    assert not y[1:].any()


def test_balance_loss_is_1_for_equal_shares_and_e_where_one_expert_takes_all():
    level = mg.tensor(np.full((6, 4), 0.25))
    assert balance_loss(level, np.array([3, 3, 3, 3])).item() == pytest.approx(1)
    one = mg.tensor(np.tile([0.0, 1, 0, 0], (6, 1)))
    assert balance_loss(one, np.array([0, 12, 0, 0])).item() == pytest.approx(4)
    mixed = mg.tensor(np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]]))
    want = 3 * (0.3 * 1 / 4 + 0.45 * 2 / 4 + 0.25 * 1 / 4)
    assert balance_loss(mixed, np.array([1, 2, 1])).item() == pytest.approx(want)


def test_its_gradient_takes_probability_from_the_expert_that_is_chosen_most():
    scores = mg.tensor(RNG.normal(size=(9, 3)), requires_grad=True)
    balance_loss(mg.softmax(scores), np.array([7, 1, 1])).backward()
    down = scores.grad.numpy()
    assert (down[:, 0] > 0).all()
    assert (down[:, 1:] < 0).all()


def test_experts_that_nobody_chooses_get_gradients_of_zero():
    moe = layer()
    moe.router.weight.data[0] = [0, -60, 0, 0]
    x = RNG.normal(size=(9, 6))
    x[:, 0] = 1
    moe(mg.tensor(x)).sum().backward()
    assert moe.load[1] == 0
    assert not moe.experts[1].up.weight.grad.numpy().any()
    assert moe.experts[0].up.weight.grad.numpy().any()


def test_bad_settings_say_what_was_expected():
    with pytest.raises(ValueError, match="top_k is 5; expected 1 to n_experts = 4"):
        layer(5)
    with pytest.raises(ValueError, match="every gate is 1; use gates='all'"):
        layer(1)
    with pytest.raises(ValueError, match="capacity_factor must be positive, got 0"):
        layer(capacity_factor=0)
    with pytest.raises(ValueError, match="'chosen', 'all', got 'some'"):
        layer(gates="some")
    with pytest.raises(ValueError, match=r"shape \(2, 0, 6\); expected a token or more"):
        layer()(mg.tensor(np.ones((2, 0, 6))))
    with pytest.raises(ValueError, match="1 MixtureOfExperts, 1 of which have not been called"):
        nn.auxiliary_loss(layer())


# Many


@pytest.mark.parametrize("name", cases.CASES)
def test_experts_on_ranks_train_as_on_one_device(name):
    fn, size, check = cases.CASES[name]
    check(list(dist.run(fn, size)))


def exchange(comm, tokens, top_k):
    """The layer forward and backward, in phases; which of the rank's choices leave it."""
    moe = ExpertParallel(layer(top_k, n_experts=8), comm)
    x = mg.tensor(np.random.default_rng(comm.rank).normal(size=(tokens, 6)), requires_grad=True)
    with comm.phase("forward"):
        y = moe(x)
    with comm.phase("backward"):
        y.sum().backward()
    with comm.phase("gradients"):
        average_gradients(moe, comm)
    scores = x.data @ moe.router.weight.data
    chosen = np.argsort(-scores, axis=1)[:, :top_k] // (8 // comm.size)
    return np.bincount(chosen.reshape(-1), minlength=comm.size)  # rows for each rank


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_bytes_are_counts_and_rows_that_leave_twice_each_way(size):
    run = dist.run(exchange, size, args=(9, 2))
    rows = np.array(list(run))  # (from, to)
    away = rows * (1 - np.eye(size, dtype=int))
    row = 6 * 8  # bytes: D numbers of float64
    for rank in range(size):
        out, back = away[rank].sum() * row, away[:, rank].sum() * row
        asked = run.traffic.bytes(source=rank, collective="all_to_all", phase="forward")
        assert asked == 8 * 8 * (size - 1) // size + out + back
        asked = run.traffic.bytes(source=rank, collective="all_to_all", phase="backward")
        assert asked == out + back
    if size in (2, 4, 8):  # the router alone is shared: (6, 8) numbers, by recursive doubling
        shared = run.traffic.bytes(source=0, collective="all_reduce", phase="gradients")
        assert shared == 6 * 8 * 8 * int(math.log2(size))


def test_the_mean_of_ranks_auxiliary_losses_is_that_of_all_tokens():
    x = RNG.normal(size=(12, 6))

    def main(comm):
        moe = ExpertParallel(layer(), comm)
        moe(mg.tensor(np.split(x, comm.size)[comm.rank]))
        return moe.auxiliary_loss.item()

    whole = layer()
    whole(mg.tensor(x))
    parts = list(dist.run(main, 4))
    assert np.mean(parts) == pytest.approx(whole.auxiliary_loss.item(), abs=1e-14)
    assert len(set(parts)) == 4


def test_replicas_of_expert_groups_average_over_all_ranks():
    x = RNG.normal(size=(8, 3, 6))

    def main(comm):
        group = comm.split(comm.rank // 2, comm.rank)  # 2 groups of 2 ranks
        replicas = comm.split(comm.rank % 2, comm.rank)
        moe = ExpertParallel(layer(), group)
        mg.mean(mg.square(moe(mg.tensor(np.split(x, 4)[comm.rank])))).backward()
        average_gradients(moe, comm, replicas)
        return {name: p.grad.numpy() for name, p in moe.named_parameters()}

    whole = layer()
    mg.mean(mg.square(whole(mg.tensor(x)))).backward()
    want = {name: p.grad.numpy() for name, p in whole.named_parameters()}
    for rank, grads in enumerate(dist.run(main, 4)):
        for name, grad in grads.items():
            whole_name = cases.whole_name("." + name, rank % 2 * 2)[1:]
            np.testing.assert_allclose(grad, want[whole_name], rtol=0, atol=1e-13)


def test_experts_that_do_not_divide_and_ranks_with_another_dtype_are_refused():
    with pytest.raises(ValueError, match="rank 0: 4 experts do not divide among 3 ranks"):
        dist.run(lambda comm: ExpertParallel(layer(), comm), 3)

    def mixed(comm):
        moe = ExpertParallel(layer(), comm).astype("float32" if comm.rank else "float64")
        return moe(mg.tensor(np.ones((3, 6)), dtype=moe.router.weight.dtype))

    with pytest.raises(dist.DistributedError, match="they differ in the dtype"):
        dist.run(mixed, 2)


def test_every_mixture_of_a_model_is_replaced_and_other_ranks_experts_are_gone():
    def main(comm):
        model = expert_parallel(cases.built(), comm)
        return [type(block.mlp) is ExpertParallel for block in model.blocks], model.num_parameters

    kinds, count = dist.run(main, 4)[1]
    assert kinds == [True, True]
    expert = 12 * 20 + 20 + 20 * 12 + 12
    assert count == cases.built().num_parameters - 2 * 3 * expert


def test_a_model_without_experts_inside_is_refused():
    for model, name in [(nn.MLP(4), "MLP"), (layer(), "MixtureOfExperts")]:
        with pytest.raises(ValueError, match=f"rank 0: {name} has no MixtureOfExperts inside"):
            dist.run(lambda comm, model=model: expert_parallel(model, comm), 2)
