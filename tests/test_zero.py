"""ZeRO: equal to one device, in the bytes of memory and of messages that the table says."""

import functools

import numpy as np
import pytest
from distributed_cases.data_parallel import built
from distributed_cases.zero import CASES

import minigrad as mg
from minigrad import distributed as dist
from minigrad import nn
from minigrad.distributed.zero import ZeRO
from minigrad.models import GPT, GPTConfig
from minigrad.optim import SGD, AdamW
from minigrad.perf import live_bytes
from minigrad.training import next_token_loss

KAPPA = 12  # bytes a parameter: float32 master weights, m and v
BANDWIDTH = 1e9  # bytes a second
WIRES = dist.FullyConnected(alpha=0.0, bandwidth=BANDWIDTH)
IDS = np.random.default_rng(2).integers(11, size=(8, 6))


def table(stage, psi, P):
    """Bytes of model states a rank holds, for psi parameters on P ranks."""
    return {
        0: (2 + 2 + KAPPA) * psi,
        1: 2 * psi + 2 * psi + KAPPA * psi / P,
        2: 2 * psi + (2 + KAPPA) * psi / P,
        3: (2 + 2 + KAPPA) * psi / P,
    }[stage]


def small(dtype="bfloat16", width=16, frozen=False, **changes):
    """A GPT; with width 16 all its parts have sizes that 8 divides."""
    model = GPT(GPTConfig(12, 8, width, 2, 3, **changes), seed=1).astype(dtype)
    model.position_embedding.weight.requires_grad_(not frozen)
    return model


def a_step(comm, stage, make=small, zero_grad=False, **options):
    """(bytes of model states, Ψ, padding) after a step whose gradients are still there."""
    zero = ZeRO(model := make(), comm, stage, **options)
    psi = sum(p.size for p in model.parameters())
    x = (IDS + comm.rank) % 12
    loss = next_token_loss(zero, x[:, :-1], x[:, 1:])
    zero.backward(loss)
    zero.step()
    if zero_grad:
        zero.zero_grad()
    return live_bytes(zero, without=[comm]), psi, zero.padding


@pytest.mark.parametrize("name", CASES)
def test_training_equals_one_device(name):
    case = CASES[name]
    case.check(dist.run(case.fn, case.size).results)


# Memory


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_model_states_are_those_of_the_table(stage, size, dtype):
    run = dist.run(a_step, size, args=(stage, functools.partial(small, dtype)))
    for held, psi, padding in run:
        assert padding == 0
        assert held == table(stage, psi, size)


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_padding_is_stated_and_counted(stage, size):
    make = functools.partial(small, "bfloat16", 14, bias=True)
    blocks = make().blocks[0].num_parameters
    rest = make().num_parameters - 3 * blocks
    for held, psi, padding in dist.run(a_step, size, args=(stage, make)):
        assert padding == 3 * (-blocks % size) + -rest % size
        assert held == table(stage, psi + padding, size)
    assert padding > 0


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_float32_weights_are_their_own_master(stage):
    make = functools.partial(small, "float32")
    held, psi, _ = dist.run(a_step, 4, args=(stage, make))[2]
    shares = [1 if stage >= s else 4 for s in (3, 2, 1)]  # in quarters of weights, gradients, m, v
    weights, gradients, states = shares
    assert held == 4 * psi * (weights + gradients + 2 * states) / 4


def test_without_gradients_only_weights_and_states_are_held():
    for stage, left in ((0, 2 + 12), (1, 2 + 3), (2, 2 + 3), (3, 0.5 + 3)):
        held, psi, _ = dist.run(functools.partial(a_step, zero_grad=True), 4, args=(stage,))[1]
        assert held == left * psi


class Spy(nn.Linear):
    """A layer that calls back when it runs."""

    def forward(self, x):
        self.called()
        return super().forward(x)


@pytest.mark.parametrize(("prefetch", "gathered"), [(False, 1), (True, 2)])
def test_stage_3_holds_one_block_and_the_one_fetched_ahead(prefetch, gathered):
    count, width = 4, 8

    def main(comm):
        model = nn.Sequential(*(Spy(width, width, bias=False) for _ in range(count)))
        zero = ZeRO(model, comm, 3, prefetch=prefetch)
        seen = []

        def looks():
            coming = [unit.coming for unit in zero.blocks if unit.coming is not None]
            assert len(coming) < gathered
            for handle in coming:
                handle.wait()
            seen.append(live_bytes(zero, without=[comm]))

        for block in model:
            block.block.called = looks
        at_rest = live_bytes(zero, without=[comm])
        zero.backward((zero(np.ones((2, width), np.float32)) ** 2).sum())
        return at_rest, seen

    n = 4 * width * width
    for at_rest, seen in dist.run(main, 4):
        assert at_rest == count * n / 4
        forward, backward = seen[:count], seen[count:]
        assert len(backward) == count
        assert forward == [at_rest + gathered * n] * (count - 1) + [at_rest + n]
        assert backward[0] == at_rest + gathered * n


def test_stage_3_weights_are_nan_while_they_are_elsewhere():
    def main(comm):
        zero = ZeRO(model := small(), comm, 3)
        return [np.isnan(p.data.astype("f4")).all() for p in model.parameters()], zero.state_dict()

    there, state = dist.run(main, 2)[0]
    assert all(there)
    wanted = small().state_dict()
    assert list(state) == list(wanted)
    assert all(np.array_equal(state[name], wanted[name]) for name in wanted)


def test_stage_2_holds_two_blocks_gradients_and_the_rest_while_backward_runs():
    size, blocks = 4, 6

    def main(comm):
        model = GPT(GPTConfig(12, 8, 16, 2, blocks), seed=1).astype("float32")
        zero, seen = ZeRO(model, comm, 2, SGD), []
        on_leaf = zero._on_leaf

        def looks(tensor, g):
            taken = on_leaf(tensor, g)
            seen.append(live_bytes(zero.module, zero.units))
            return taken

        zero._on_leaf = looks
        weights = live_bytes(zero.module, zero.units)
        assert weights == 4 * model.num_parameters
        zero.backward(next_token_loss(zero, IDS[:, :-1], IDS[:, 1:]))
        return max(seen) - weights, live_bytes(zero.module, zero.units) - weights

    model = GPT(GPTConfig(12, 8, 16, 2, blocks), seed=1)
    block = 4 * model.blocks[0].num_parameters
    rest = 4 * model.num_parameters - blocks * block
    for peak, after in dist.run(main, size):
        assert peak == rest + 2 * block + (blocks - 2) * block // size
        assert after == 4 * model.num_parameters // size


# Messages


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_stages_0_to_2_send_what_an_all_reduce_sends(stage, size):
    run = dist.run(functools.partial(a_step, algorithm="ring"), size, args=(stage,))
    n = 2 * run[0][1]  # bytes of gradients, and of weights
    half = (size - 1) * n / size
    gradients, weights = run.traffic.sent(phase="gradients"), run.traffic.sent(phase="weights")
    assert gradients == [2 * half if stage == 0 else half] * size
    assert weights == [0 if stage == 0 else half] * size


@pytest.mark.parametrize("size", [2, 4, 8])
def test_stage_3_sends_half_as_much_again(size):
    def main(comm):
        model = nn.Sequential(*(nn.Linear(16, 16) for _ in range(3))).astype("bfloat16")
        zero = ZeRO(model, comm, 3, algorithm="ring")
        zero.backward((zero(mg.tensor(np.ones((2, 16)), dtype="bfloat16")) ** 2).sum())
        zero.step()
        return model.num_parameters

    run = dist.run(main, size)
    n = 2 * run[0]
    assert run.traffic.sent(phase="weights") == [2 * (size - 1) * n / size] * size
    assert run.traffic.sent(phase="gradients") == [(size - 1) * n / size] * size


def test_stage_3_gathers_what_is_in_no_block_once():
    run = dist.run(functools.partial(a_step, algorithm="ring"), 4, args=(3,))
    blocks = 3 * small().blocks[0].num_parameters
    rest = small().num_parameters - blocks
    assert run.traffic.sent(phase="weights") == [3 / 4 * 2 * (2 * blocks + rest)] * 4


def test_accumulation_reduces_once_below_stage_2_and_every_time_above():
    def main(comm, stage):
        zero = ZeRO(small(), comm, stage, algorithm="ring")
        for last in (False, False, True):
            zero.backward(next_token_loss(zero, IDS[:, :-1], IDS[:, 1:]), reduce=last)

    sent = [dist.run(main, 2, args=(s,)).traffic.bytes(phase="gradients") for s in range(4)]
    n = 2 * small().num_parameters
    assert sent == [2 * n, n, 3 * n, 3 * n]


def test_prefetch_hides_the_gathering_of_all_blocks_but_the_first():
    count, width = 4, 32
    n = width * width

    def main(comm, prefetch):
        model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(count)))
        zero = ZeRO(model, comm, 3, prefetch=prefetch, algorithm="ring", work=10e-6 / n)
        comm.barrier()
        begin = comm.clock
        zero(np.ones((2, width), np.float32))
        return comm.clock - begin

    gather = 3 / 4 * 4 * n / BANDWIDTH  # 3.1 µs, less than the 10 µs that a block works
    times = [dist.run(main, 4, args=(on,), topology=WIRES)[0] for on in (True, False)]
    assert times[0] == pytest.approx(count * 10e-6 + gather, rel=1e-9)
    assert times[1] == pytest.approx(count * (10e-6 + gather), rel=1e-9)


# More than one backward pass, and ranks that differ


STEPS = [(slice(0, 4), True), (slice(4, 6), False), (slice(6, 8), True)]


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_gradients_add_up_whether_they_are_reduced_in_between_or_not(stage):
    reference = built()
    for rows, _ in 2 * STEPS:
        next_token_loss(reference, IDS[rows, :-1], IDS[rows, 1:]).backward()
    SGD(reference.parameters(), lr=0.1).step()

    def main(comm):
        zero = ZeRO(built(), comm, stage, functools.partial(SGD, lr=0.1))
        for number, (rows, reduce) in enumerate([*STEPS[:2], *STEPS, *STEPS]):
            if number == 2:
                zero.zero_grad()  # and the first two count for nothing
            ids = np.split(IDS[rows], 2)[comm.rank]
            zero.backward(next_token_loss(zero, ids[:, :-1], ids[:, 1:]), reduce=reduce)
        zero.step()
        return zero.state_dict()

    for state in dist.run(main, 2):
        for name, value in reference.state_dict().items():
            np.testing.assert_allclose(state[name], value, rtol=0, atol=1e-14, err_msg=name)


class Crossed(nn.Module):
    """Two equally shaped blocks that run in one order or the other."""

    def __init__(self, swapped):
        mg.manual_seed(1)
        self.blocks = nn.ModuleList([nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)])
        self.swapped = swapped
        self.astype("float64")

    def forward(self, x):
        one, two = reversed(list(self.blocks)) if self.swapped else self.blocks
        return two(mg.tanh(one(x)))


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_ranks_that_complete_blocks_in_another_order_still_agree(stage):
    x = np.arange(8.0).reshape(2, 4) / 8

    def main(comm):
        zero = ZeRO(Crossed(comm.rank == 1), comm, stage, functools.partial(SGD, lr=1.0))
        zero.backward((zero(x) ** 2).sum())
        zero.step()
        return list(zero.state_dict().values())

    models = [Crossed(False), Crossed(True)]
    for model in models:
        (model(x) ** 2).sum().backward()
    run = dist.run(main, 2)
    for place, (p, q) in enumerate(zip(*(model.parameters() for model in models))):
        wanted = p.data - (p.grad.data + q.grad.data) / 2
        for rank in range(2):
            np.testing.assert_allclose(run[rank][place], wanted, rtol=1e-13)


# What was saved


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_training_resumes_exactly(stage, dtype):
    def main(comm, resumed):
        make = functools.partial(ZeRO, comm=comm, stage=stage, optimizer=AdamW)
        zero = make(small(dtype))
        for step in range(4):
            if resumed and step == 2:
                state, own = zero.state_dict(masters=True), zero.optimizer.state_dict()
                zero = make(GPT(GPTConfig(12, 8, 16, 2, 3), seed=9).astype(dtype))
                zero.load_state_dict(state)
                zero.optimizer.load_state_dict(own)
            x = (IDS + comm.rank + step) % 12
            zero.backward(next_token_loss(zero, x[:, :-1], x[:, 1:]))
            zero.step()
            zero.zero_grad()
        return zero.state_dict(masters=True)

    wanted, found = dist.run(main, 2, args=(False,)), dist.run(main, 2, args=(True,))
    for rank in range(2):
        for name, value in wanted[rank].items():
            assert value.dtype == ("float32" if dtype == "bfloat16" else dtype)
            np.testing.assert_array_equal(found[rank][name], value, err_msg=name)


@pytest.mark.parametrize("by", ["ZeRO", "module"])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_loaded_weights_are_not_undone_by_the_next_step(stage, by):
    def main(comm):
        zero = ZeRO(small(frozen=True), comm, stage, functools.partial(SGD, lr=0.0))
        ones = {name: np.ones_like(value) for name, value in zero.state_dict().items()}
        (zero if by == "ZeRO" else zero.module).load_state_dict(ones)
        zero.backward(next_token_loss(zero, IDS[:, :-1], IDS[:, 1:]))
        zero.step()
        return zero.state_dict()

    if by == "module" and stage == 3:
        with pytest.raises(ValueError, match="does not fit"):
            dist.run(main, 2)
        return
    for state in dist.run(main, 2):
        assert all((value.astype("f4") == 1).all() for value in state.values())


def test_states_that_do_not_fit_are_refused():
    def main(comm, change):
        zero = ZeRO(small(), comm, 2)
        state = zero.state_dict()
        change(state)
        zero.load_state_dict(state)

    for change in (
        lambda state: state.pop("head.weight"),
        lambda state: state.update({"head.weight": state["head.weight"][1:]}),
        lambda state: state.update({"head.weight": state["head.weight"].astype("f8")}),
        lambda state: state.update({"head.weights": state.pop("head.weight")}),
    ):
        with pytest.raises(ValueError, match=r"load_state_dict: rank \d: missing, .*: head\.weig"):
            dist.run(main, 2, args=(change,))


# Half precision, and models with corners


def test_master_weights_keep_updates_that_half_precision_would_lose():
    steps, lr = 12, 4e-6  # a bfloat16 of 0.02 has neighbours 1.2e-4 away
    adamw = functools.partial(AdamW, lr=lr, weight_decay=0.0)

    def main(comm, stage):
        model = small()
        before = model.head.weight.data.astype("f4")
        zero = ZeRO(model, comm, stage, adamw)
        for _ in range(steps):
            zero.backward(next_token_loss(zero, IDS[:, :-1], IDS[:, 1:]))
            zero.step()
            zero.zero_grad()
        return np.abs(zero.state_dict()["head.weight"].astype("f4") - before)

    def halves_only():
        model = small()
        before = model.head.weight.data.astype("f4")
        optimizer = adamw(model.parameters())
        for _ in range(steps):
            optimizer.zero_grad()
            next_token_loss(model, IDS[:, :-1], IDS[:, 1:]).backward()
            optimizer.step()
        return np.abs(model.head.weight.data.astype("f4") - before)

    for stage in range(4):
        moved = dist.run(main, 2, args=(stage,))[1]
        assert moved.mean() == pytest.approx(steps * lr, rel=0.4)
    assert halves_only().mean() < 0.3 * moved.mean()


def losses_of(stage, size, make, steps=3, mask=None):
    def main(comm):
        mg.manual_seed(6)
        zero = ZeRO(make(), comm, stage, functools.partial(SGD, lr=0.1, momentum=0.9))
        losses = []
        for _ in range(steps):
            logits = zero(IDS[:, :-1], mask=mask)
            loss = mg.cross_entropy(logits, IDS[:, 1:])
            zero.backward(loss)
            zero.step()
            zero.zero_grad()
            losses.append(loss.item())
        return losses

    return dist.run(main, size)[size - 1]


def test_dropout_and_masks_go_through_the_second_run_of_a_block():
    make = functools.partial(small, "float64", dropout=0.3)
    mask = np.ones((8, 5), bool)
    mask[2, :2] = False
    wanted = losses_of(1, 1, make, mask=mask)
    assert wanted != losses_of(1, 1, make)
    for stage in (2, 3):
        np.testing.assert_allclose(losses_of(stage, 2, make, mask=mask), wanted, rtol=1e-12)


class Shared(nn.Module):
    """Blocks that share a layer, one without parameters, one frozen, one used outside as well."""

    def __init__(self):
        mg.manual_seed(8)
        layer = nn.Linear(6, 6)
        both = nn.Sequential(layer, nn.Linear(6, 6)), nn.Sequential(nn.Linear(6, 6), layer)
        self.blocks = nn.ModuleList([both[0], nn.Dropout(0.0), both[1], nn.Linear(6, 2)])
        for p in self.blocks[3].parameters():
            p.requires_grad_(False)
        self.first = self.blocks[2][0]
        self.astype("float64")

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return x


def test_shared_and_frozen_parameters():
    x = np.random.default_rng(0).normal(size=(5, 6))
    model = Shared()
    optimizer = SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (model(x) ** 2).sum().backward()
        optimizer.step()

    def main(comm, stage):
        zero = ZeRO(Shared(), comm, stage, functools.partial(SGD, lr=0.1))
        for _ in range(2):
            zero.backward((zero(x) ** 2).sum())
            zero.step()
            zero.zero_grad()
        return zero.state_dict()

    for stage in range(4):
        state = dist.run(main, 3, args=(stage,))[1]
        for name, value in model.state_dict().items():
            np.testing.assert_allclose(state[name], value, rtol=1e-12, err_msg=name)


def test_blocks_can_be_named_and_evaluated_without_a_graph():
    def main(comm):
        model = built()
        zero = ZeRO(model, comm, 3, blocks=[model.blocks[1], model.head])
        with mg.no_grad():
            return zero(IDS).data

    with mg.no_grad():
        wanted = built()(IDS).data
    np.testing.assert_array_equal(dist.run(main, 2)[1], wanted)


# Bad input


def test_a_stage_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="stage is 4; expected 0, 1, 2 or 3"):
        dist.run(lambda comm: ZeRO(small(), comm, 4), 1)


def test_a_step_needs_gradients():
    with pytest.raises(ValueError, match=r"step: there are no gradients; backward\(\) comes first"):
        dist.run(lambda comm: ZeRO(small(), comm, 2).step(), 2)


def test_clipping_needs_gradients():
    with pytest.raises(ValueError, match="clip_grad_norm: there are no gradients; backward"):
        dist.run(lambda comm: ZeRO(small(), comm, 1).clip_grad_norm(1.0), 2)


@pytest.mark.parametrize("stage", [0, 1])
def test_a_step_needs_reduced_gradients(stage):
    def main(comm):
        zero = ZeRO(small(), comm, stage)
        for reduce in (True, False):
            zero.backward(next_token_loss(zero, IDS[:, :-1], IDS[:, 1:]), reduce=reduce)
        zero.step()

    with pytest.raises(ValueError, match="step: the gradients are this rank's own as yet"):
        dist.run(main, 2)


def test_an_optimizer_that_is_made_already_is_refused():
    with pytest.raises(TypeError, match=r"ZeRO: optimizer is AdamW\(.*; expected functools"):
        dist.run(lambda comm: ZeRO(m := small(), comm, 1, AdamW(m.parameters())), 2)


@pytest.mark.parametrize("stage", [1, 3])
def test_parameters_that_change_after_wrapping_are_refused(stage):
    def main(comm, change):
        zero = ZeRO(model := small(), comm, stage)
        change(model)
        zero.backward(next_token_loss(zero, IDS[:, :-1], IDS[:, 1:]))

    def freeze(model):
        model.head.weight.requires_grad_(False)

    with pytest.raises(ValueError, match=r"ZeRO: rank \d: head.weight was bfloat16 .* frozen now"):
        dist.run(main, 2, args=(freeze,))
    with pytest.raises(ValueError, match=r"was bfloat16 on cpu .* is float32 on cpu now; make"):
        dist.run(main, 2, args=(lambda model: model.astype("float32"),))


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_parameter_without_gradient_is_named(stage):
    def main(comm):
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        zero = ZeRO(model, comm, stage)
        zero.backward(sum((p**2).sum() for p in model[0].parameters()))

    with pytest.raises(dist.DistributedError, match=r"rank \d: no gradient came to 1\.weight"):
        dist.run(main, 2)


def test_a_block_of_two_dtypes_is_refused():
    def main(comm):
        model = nn.Sequential(nn.Linear(2, 2))
        model[0].weight.data = model[0].weight.data.astype("float64")
        ZeRO(model, comm, 1)

    with pytest.raises(TypeError, match="a block's parameters have dtypes float32, float64"):
        dist.run(main, 2)


def test_clipping_refuses_what_is_not_finite():
    def main(comm):
        model = nn.Sequential(nn.Linear(2, 2))
        zero = ZeRO(model, comm, 2)
        x = np.full((1, 2), np.inf if comm.rank else 1.0, np.float32)
        with np.errstate(invalid="ignore"):
            zero.backward(zero(x).sum())
        zero.clip_grad_norm(1.0)

    with pytest.raises(FloatingPointError, match=r"the gradients' norm is (inf|nan)"):
        dist.run(main, 2)
    with pytest.raises(ValueError, match="max_norm must be positive, got 0"):
        dist.run(lambda comm: ZeRO(small(), comm, 2).clip_grad_norm(0), 1)
