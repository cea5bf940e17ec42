"""Pipeline parallelism: equal to one device, with the bubble, memory and bytes of the formulas."""

import itertools
import re
import weakref

import numpy as np
import pytest
from distributed_cases.pipeline import BATCH, CASES, DRAWN, LENGTH, VOCABULARY, built

import minigrad as mg
from minigrad import distributed as dist
from minigrad import nn, optim
from minigrad.distributed import schedules
from minigrad.distributed.gpt_parts import cut
from minigrad.distributed.pipeline import Pipeline, bubble, generate, spans
from minigrad.distributed.schedules import Action, gpipe, interleaved, one_f_one_b, zero_bubble
from minigrad.distributed.split_backward import input_gradient, weight_gradients
from minigrad.perf.memory import live_arrays

FREE = dist.FullyConnected(alpha=0.0, bandwidth=float("inf"))  # messages cost no time
SECONDS = {"F": 1e-3, "B": 2e-3, "I": 1e-3, "W": 1e-3}
GRID = [(1, 1), (1, 5), (2, 1), (2, 7), (3, 2), (3, 6), (4, 4), (4, 9), (6, 3), (6, 8)]
WIDER = list(itertools.product(range(1, 9), range(1, 21)))
CHUNKS = [(2, 2, 1), (2, 2, 2), (2, 6, 3), (3, 3, 2), (3, 6, 4), (4, 8, 2), (5, 5, 3)]
WIDER_CHUNKS = [(S, S * k, v) for S in range(2, 7) for k in (1, 2, 4) for v in range(1, 6)]


class Scale(nn.Module):
    """The smallest part of a model: y = x · w, with a name of its own for w."""

    def __init__(self, number):
        self.name = f"weight {number}"
        setattr(self, self.name, nn.Parameter([0.5 + number], dtype="float64"))

    def forward(self, x):
        return x * getattr(self, self.name)

    def between(self, inputs):
        return np.empty(inputs.shape)


def squares(outputs, targets):
    return ((outputs - targets) ** 2).mean()


def work(comm, schedule):
    """One step of the smallest model that needs this schedule: what the stage held, at most."""
    S, M, v = schedules.size(schedule)
    parts = [Scale(number) for number in range(S * v)]
    pipe = Pipeline(comm, parts, schedule, squares, SECONDS)
    pipe.step(np.ones((M, 1)), np.ones((M, 1)))
    return pipe.most_held


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_as_on_one_device(case):
    case.check(dist.run(case.fn, case.size))


def words(actions):
    return " ".join(map(str, actions))


def test_schedules_are_those_of_the_papers():
    assert words(gpipe(2, 3)[1]) == "F0 F1 F2 B0 B1 B2"
    assert [words(stage) for stage in one_f_one_b(3, 4)] == [
        "F0 F1 F2 B0 F3 B1 B2 B3",
        "F0 F1 B0 F2 B1 F3 B2 B3",
        "F0 B0 F1 B1 F2 B2 F3 B3",
    ]
    # Figure 4 of Narayanan et al. 2021, cut down to 2 stages: chunk 1 is written .1
    assert [words(stage) for stage in interleaved(2, 4, 2)] == [
        "F0 F1 F0.1 F1.1 F2 B0.1 F3 B1.1 F2.1 B0 F3.1 B1 B2.1 B3.1 B2 B3",
        "F0 F1 F0.1 B0.1 F1.1 B1.1 F2 B0 F3 B1 F2.1 B2.1 F3.1 B3.1 B2 B3",
    ]
    assert [words(stage) for stage in zero_bubble(2, 3)] == [
        "F0 F1 I0 W0 F2 I1 W1 I2 W2",
        "F0 I0 F1 I1 W0 F2 I2 W1 W2",
    ]


@pytest.mark.parametrize("shape", GRID)
def test_every_schedule_of_the_grid_can_be_run(shape):
    for make in (gpipe, one_f_one_b, zero_bubble):
        schedules.check(make(*shape))
        assert schedules.size(make(*shape)) == (*shape, 1)


def bubble_of(schedule):
    return bubble(dist.run(work, len(schedule), args=(schedule,), topology=FREE).events)


def check_bubble(S, M):
    for make in (gpipe, one_f_one_b):
        assert bubble_of(make(S, M)) == pytest.approx((S - 1) / (M + S - 1), abs=1e-12)
    if M >= S:
        assert bubble_of(zero_bubble(S, M)) == pytest.approx((S - 1) / (3 * M + S - 1), abs=1e-12)


def check_interleaved_bubble(S, M, v):
    found = bubble_of(interleaved(S, M, v))
    assert found == pytest.approx((S - 1) / (v * M + S - 1), abs=1e-12)


@pytest.mark.parametrize("shape", GRID)
def test_the_bubble_is_that_of_the_formula(shape):
    check_bubble(*shape)


@pytest.mark.parametrize("shape", CHUNKS)
def test_chunks_divide_the_bubble(shape):
    check_interleaved_bubble(*shape)


@pytest.mark.slow
@pytest.mark.parametrize("shape", WIDER)
def test_the_bubble_over_the_whole_grid(shape):
    check_bubble(*shape)


@pytest.mark.slow
@pytest.mark.parametrize("shape", WIDER_CHUNKS)
def test_the_bubble_of_chunks_over_the_whole_grid(shape):
    check_interleaved_bubble(*shape)


@pytest.mark.parametrize(("S", "M"), GRID)
def test_forward_passes_held_are_those_of_the_formula(S, M):
    def held(schedule):
        return list(dist.run(work, S, args=(schedule,)))

    assert held(gpipe(S, M)) == [M] * S
    assert held(one_f_one_b(S, M)) == [min(S - i, M) for i in range(S)]
    assert max(held(zero_bubble(S, M))) == min(S, M)


@pytest.mark.parametrize(("S", "M", "v"), CHUNKS)
def test_chunks_hold_more_forward_passes_of_less_each(S, M, v):
    found = list(dist.run(work, S, args=(interleaved(S, M, v),)))
    assert found == [min(2 * (S - i - 1) + (v - 1) * S + 1, v * M) for i in range(S)]


class Watched(Scale):
    """A Scale that knows how many of its outputs' graphs are alive, now and at most."""

    def forward(self, x):
        out = super().forward(x)
        self.nodes = [node for node in getattr(self, "nodes", []) if node() is not None]
        self.nodes.append(weakref.ref(out.node))
        self.most = max(len(self.nodes), getattr(self, "most", 0))
        return out


@pytest.mark.parametrize(
    ("make", "want"), [(gpipe, [7, 7, 7]), (one_f_one_b, [3, 2, 1]), (zero_bubble, [3, 2, 1])]
)
def test_no_graph_lives_longer_than_it_is_counted(make, want):
    def main(comm):
        parts = [Watched(number) for number in range(3)]
        pipe = Pipeline(comm, parts, make(3, 7), squares)
        pipe.step(np.ones((14, 1)), np.ones((14, 1)))
        assert not any(node() for node in parts[comm.rank].nodes)
        return parts[comm.rank].most

    # What ZB-H1 keeps between the halves are inputs and gradients, no graph.
    assert list(dist.run(main, 3)) == want


def most_bytes(comm, schedule):
    """The most bytes of numbers that are no ids, after any action of a stage."""
    M, most = schedules.size(schedule)[1], 0
    pipe = Pipeline(comm, cut(built(3), comm.size), schedule)
    did = pipe._did

    def counted(*given):
        nonlocal most
        did(*given)
        alive = live_arrays(pipe, without=[comm])
        most = max(most, sum(array.nbytes for array in alive if array.dtype == np.float64))

    pipe._did = counted
    ids = np.random.default_rng(0).integers(VOCABULARY, size=(M, LENGTH + 1))
    pipe.step(ids[:, :-1], ids[:, 1:])
    return most


def test_bytes_held_grow_with_micro_batches_in_gpipe_alone():
    few, many = 7, 12
    for make in (one_f_one_b, zero_bubble):
        held = [list(dist.run(most_bytes, 3, args=(make(3, M),))) for M in (few, many)]
        assert held[0] == held[1]
    held = [list(dist.run(most_bytes, 3, args=(gpipe(3, M),))) for M in (few, many)]
    activation = LENGTH * 12 * 8  # (1, L, D)
    for some, more in zip(*held):
        assert more - some > (many - few) * activation


@pytest.mark.parametrize(
    ("schedule", "tie_weights"),
    [(one_f_one_b(4, 2), False), (gpipe(2, 8), True), (interleaved(2, 4, 2), False)],
)
def test_bytes_of_a_step_are_those_of_the_formula(schedule, tie_weights):
    S, M, v = schedules.size(schedule)

    def main(comm):
        model = built(4, tie_weights=tie_weights)
        pipe = Pipeline(comm, cut(model, S * v), schedule)
        pipe.step(DRAWN[0, :, :-1], DRAWN[0, :, 1:])

    traffic = dist.run(main, S).traffic
    b, D = BATCH // M, 12
    for what in ("activation", "gradient"):
        assert traffic.bytes(phase=what) == M * (S * v - 1) * b * LENGTH * D * 8
        assert traffic.messages(phase=what) == M * (S * v - 1)
    # Each link carries its share; with one chunk, nothing goes from the last stage to the first.
    across = [flow for flow in traffic.flows if flow.phase == "activation"]
    per_link = {(flow.source, flow.destination): flow.messages for flow in across}
    want = {(i, i + 1): v * M for i in range(S - 1)} | ({(S - 1, 0): (v - 1) * M} if v > 1 else {})
    assert per_link == want
    assert traffic.bytes(phase="tied weights") == (2 * VOCABULARY * D * 8 if tie_weights else 0)


def test_steps_between_updates_add_up_their_gradients():
    def main(comm):
        pipe = Pipeline(comm, cut(built(2, tie_weights=True), 2), one_f_one_b(2, 4))
        for ids in DRAWN[:3]:
            pipe.step(ids[:, :-1], ids[:, 1:])
        names = [name for part in pipe.parts for name, _ in part.named_parameters()]
        return dict(zip(names, [p.grad.numpy() for p in pipe.parameters()]))

    model = built(2, tie_weights=True)
    for ids in DRAWN[:3]:
        mg.cross_entropy(model(ids[:, :-1]), ids[:, 1:]).backward()
    for found in dist.run(main, 2):
        for name, p in model.named_parameters():
            if name in found:
                np.testing.assert_allclose(found[name], p.grad.numpy(), rtol=0, atol=1e-13)


def test_a_send_that_waits_would_stop_one_f_one_b_for_ever():
    class Waiting:
        def __init__(self, comm):
            self.comm = comm

        def __getattr__(self, name):
            return getattr(self.comm, name)

        def isend(self, x, dest):
            self.comm.send(x, dest)
            return dist.Handle(lambda: None)

    with pytest.raises(dist.DistributedError, match="nobody can go on"):
        dist.run(lambda comm: work(Waiting(comm), one_f_one_b(2, 4)), 2)


def test_backward_in_two_halves_is_backward():
    rng = np.random.default_rng(0)

    def made():
        block = nn.TransformerBlock(12, 3, causal=True, dropout=0.0)
        x = mg.tensor(rng.normal(size=(2, 5, 12)), requires_grad=True)
        return block.astype("float64"), x

    def called(block, x):
        return block(block(x)) * x  # weights and input are used twice

    block, x = made()
    g = rng.normal(size=x.shape)
    called(block, x).backward(g)
    want = {name: p.grad.numpy() for name, p in block.named_parameters()}
    dx_want = x.grad.numpy()
    block.zero_grad()
    x = mg.tensor(x.numpy(), requires_grad=True)
    dx, left = input_gradient(called(block, x), g, x)
    assert all(p.grad is None for p in [*block.parameters(), x])
    np.testing.assert_allclose(dx, dx_want, rtol=0, atol=1e-12)
    for times in (1, 2):
        weight_gradients(left)
        for name, p in block.named_parameters():
            np.testing.assert_allclose(
                p.grad.numpy(), times * want[name], rtol=0, atol=1e-12, err_msg=name
            )


def test_backward_in_two_halves_through_a_checkpoint():
    block = nn.TransformerBlock(12, 3, causal=True, dropout=0.0).astype("float64")
    array, g = np.random.default_rng(0).normal(size=(2, 2, 5, 12))
    x = mg.tensor(array, requires_grad=True)
    block(block(x)).backward(g)
    want, dx_want = [p.grad.numpy() for p in block.parameters()], x.grad.numpy()
    block.zero_grad()
    x = mg.tensor(array, requires_grad=True)
    dx, left = input_gradient(mg.checkpoint(block)(block(x)), g, x)
    np.testing.assert_allclose(dx, dx_want, rtol=0, atol=1e-12)
    weight_gradients(left)
    for p, grad in zip(block.parameters(), want):
        np.testing.assert_allclose(p.grad.numpy(), grad, rtol=0, atol=1e-12)


def test_weight_gradients_share_no_memory():
    a, b = (mg.tensor([1.0, 2.0], requires_grad=True) for _ in "ab")
    _, left = input_gradient(a + b, np.array([3.0, 5.0], np.float32))
    weight_gradients(left)
    a.grad.data[0] = 99
    assert b.grad.tolist() == [3.0, 5.0]


def test_decoding_keeps_stages_busy_only_with_several_groups():
    def main(comm, groups):
        parts = cut(built(4), comm.size)
        generate(comm, parts, DRAWN[0, :, :2], 3, groups, seconds=1e-3)

    alone = dist.run(main, 4, args=(1,), topology=FREE)
    assert bubble(alone.events) == pytest.approx(3 / 4)
    assert alone.seconds == pytest.approx(12e-3)  # tokens × stages
    grouped = dist.run(main, 4, args=(8,), topology=FREE)
    assert bubble(grouped.events) == pytest.approx(3 / (3 * 8 + 3))  # tokens × groups + S − 1


def test_spans_name_the_micro_batches():
    events = dist.run(work, 2, args=(interleaved(2, 2, 2),), topology=FREE).events
    found = spans(events, chunks=2)
    assert (1, pytest.approx(0.001), pytest.approx(0.002), "0", "forward, chunk 0") in found
    assert {role for *_, role in found} == {
        f"{way}, chunk {c}" for way in ("forward", "backward") for c in (0, 1)
    }
    assert len(found) == 2 * 2 * 2 * 2


def changed(schedule, stage, actions):
    return [actions if i == stage else each for i, each in enumerate(schedule)]


def F(m, c=0):
    return Action("F", m, c)


def B(m, c=0):
    return Action("B", m, c)


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        (changed(gpipe(2, 2), 1, [F(0), F(1), B(0)]), "stage 1 does {'F': 1} for micro-batch 1"),
        (changed(gpipe(2, 2), 0, [F(0), F(1), B(0), B(0), B(1)]), "stage 0 does {'F': 1, 'B': 2}"),
        (changed(gpipe(2, 2), 0, []), "stage 0 does nothing for micro-batch 0"),
        (changed(gpipe(2, 1), 0, [B(0), F(0)]), "stage 0 does B0 before F0"),
        ([[F(0), Action("W", 0), Action("I", 0)]], "stage 0 does W0 before I0"),
        ([[F(0), Action("I", 0)]], "stage 0 does {'F': 1, 'I': 1}"),
        ([[F(0), Action("G", 0), B(0)]], "unknown action ('G', 0, 0)"),
        ([[], []], "holds no action"),
        (
            # Stage 0 wants a gradient for which stage 1 still waits for its second forward.
            [[F(0), B(0), F(1), B(1)], [F(0), F(1), B(0), B(1)]],
            "stage 0 at B0 waits for the gradient of micro-batch 0 from part 1; stage 1 at F1 "
            "waits for the activation of micro-batch 1 from part 0",
        ),
        (
            [[F(0), F(1), B(0), B(1)], [F(1), F(0), B(0), B(1)]],
            "stage 0 sends the activation of micro-batch 0 from part 0 where stage 1 needs the "
            "activation of micro-batch 1 from part 0",
        ),
        ([[F(0), F(0, 1), B(0, 1), B(0)]], "2 chunks need at least 2 stages"),
    ],
)
def test_a_schedule_that_cannot_be_run_is_refused(schedule, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        schedules.check(schedule)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: gpipe(0, 2), "stages is 0; expected at least 1"),
        (lambda: one_f_one_b(2, 0), "micro_batches is 0"),
        (lambda: zero_bubble(2, -1), "micro_batches is -1"),
        (lambda: interleaved(2, 4, 0), "chunks is 0"),
        (lambda: interleaved(4, 6, 2), "6 micro-batches are no whole groups of 4"),
        (lambda: interleaved(1, 4, 2), "2 chunks need at least 2 stages"),
        (lambda: cut(built(4), 3), "4 layers do not divide into 3 equal parts"),
        (lambda: cut(built(4), 8), "4 layers do not divide into 8 equal parts"),
    ],
)
def test_numbers_that_do_not_fit_are_named(make, told):
    with pytest.raises(ValueError, match=told):
        make()


def test_only_a_gpt_is_cut():
    with pytest.raises(TypeError, match="expected a GPT, got Linear"):
        cut(nn.Linear(2, 3), 1)


@pytest.mark.parametrize(
    ("parts", "stages", "rows", "told"),
    [
        (4, 2, 8, "the schedule has 2 stages, and there are 4 ranks"),
        (2, 4, 8, "2 parts of a model for 4 stages with 1 chunks each; expected 4"),
        (4, 4, 7, "rank 0: a batch of 7 does not divide into 2 equal micro-batches"),
    ],
)
def test_a_pipeline_that_does_not_fit_is_refused(parts, stages, rows, told):
    def main(comm):
        pipe = Pipeline(comm, cut(built(4), parts), one_f_one_b(stages, 2))
        pipe.step(DRAWN[0, :rows, :-1], DRAWN[0, :rows, 1:])

    with pytest.raises(ValueError, match=told):
        dist.run(main, 4)


def test_stages_of_two_dtypes_are_told_apart():
    def main(comm):
        model = built(2)
        model = model.astype("float32") if comm.rank == 1 else model
        Pipeline(comm, cut(model, 2), gpipe(2, 2)).step(DRAWN[0, :, :-1], DRAWN[0, :, 1:])

    with pytest.raises(dist.DistributedError, match=r"rank 0 sent float64 .* expected float32"):
        dist.run(main, 2)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (dict(parts=2), "2 parts of a model for 4 ranks"),
        (dict(groups=3), "8 prompts do not divide into 3 equal groups"),
        (dict(new_tokens=6), "prompts of 2 tokens and 6 more"),
        (dict(prompts=np.ones((2, 2))), "prompts are float64"),
        (dict(causal=False), "without a causal mask"),
    ],
)
def test_decoding_that_does_not_fit_is_refused(options, told):
    given = dict(parts=4, groups=1, new_tokens=2, prompts=DRAWN[0, :, :2], causal=True) | options

    def main(comm):
        parts = cut(built(4, causal=given["causal"]), given["parts"])
        generate(comm, parts, given["prompts"], given["new_tokens"], given["groups"])

    with pytest.raises(ValueError, match=told):
        dist.run(main, 4)


def test_ids_that_are_too_long_are_refused():
    def main(comm):
        ids = np.zeros((2, LENGTH + 2), int)
        Pipeline(comm, cut(built(2), 2), gpipe(2, 2)).step(ids, ids)

    with pytest.raises(ValueError, match="longer than context_length = 7"):
        dist.run(main, 2)


def test_a_stage_can_be_trained_by_an_optimizer_of_its_own():
    def main(comm):
        pipe = Pipeline(comm, [Scale(0), Scale(1)], gpipe(2, 2), squares)
        optimizer = optim.SGD(pipe.parameters(), lr=0.1)
        pipe.step(np.array([[1.0], [3.0]]), np.zeros((2, 1)))
        optimizer.step()
        return pipe.parameters()[0].item()

    # loss = (x·a·b)² averaged over x = 1 and 3: 5·a²·b²; its slopes are 10·a·b² and 10·a²·b
    a, b = 0.5, 1.5
    want = [a - 0.1 * 10 * a * b**2, b - 0.1 * 10 * a**2 * b]
    assert list(dist.run(main, 2)) == pytest.approx(want)


def test_different_parameters_of_one_name_are_refused():
    with pytest.raises(ValueError, match="weight 0 is in two parts, and not the same"):
        dist.run(lambda comm: Pipeline(comm, [Scale(0), Scale(0)], gpipe(2, 1)), 2)


def test_a_parameter_on_three_ranks_is_refused():
    def main(comm):
        parts = [Scale(0), Scale(1), Scale(2)]
        for part in parts:
            part.everywhere = parts[0].everywhere if part is not parts[0] else nn.Parameter([1.0])
        Pipeline(comm, parts, gpipe(3, 1))

    with pytest.raises(ValueError, match=r"everywhere is on ranks \[0, 1, 2\], more than 2"):
        dist.run(main, 3)


class Double(nn.Module):
    """A part without parameters: y = 2x."""

    def forward(self, x):
        return x * 2

    def between(self, inputs):
        return np.empty(inputs.shape)


@pytest.mark.parametrize("make", [gpipe, one_f_one_b, zero_bubble])
@pytest.mark.parametrize("empty", [0, 1, 2])
def test_parts_without_parameters(make, empty):
    def main(comm):
        parts = [Double() if number == empty else Scale(number) for number in range(3)]
        pipe = Pipeline(comm, parts, make(3, 2), squares)
        loss = pipe.step(np.array([[1.0], [3.0]]), np.zeros((2, 1)))
        return (
            loss,
            {name: p.grad.item() for name, p in pipe.named_parameters().items()},
            (pipe.gathered()),
        )

    factors = {f"weight {number}": 0.5 + number for number in range(3) if number != empty}
    whole = 2 * np.prod(list(factors.values()))  # loss = (x · whole)², averaged over x = 1 and 3
    for rank, (loss, grads, gathered) in enumerate(dist.run(main, 3)):
        assert loss == pytest.approx(5 * whole**2)
        assert {name: array.item() for name, array in gathered.items()} == factors
        mine = {f"weight {rank}": 10 * whole**2 / (0.5 + rank)} if rank != empty else {}
        assert grads == pytest.approx(mine)


@pytest.mark.parametrize("make", [gpipe, one_f_one_b, zero_bubble])
def test_targets_that_do_not_count(make):
    y = DRAWN[0, :, 1:].copy()
    y[:2] = -100  # the first micro-batch
    y[3:5, 2:] = -100

    def main(comm):
        pipe = Pipeline(comm, cut(built(2), 2), make(2, 4))
        loss = pipe.step(DRAWN[0, :, :-1], y)
        return loss, {name: p.grad.numpy() for name, p in pipe.named_parameters().items()}

    model = built(2)
    want = mg.cross_entropy(model(DRAWN[0, :, :-1]), y)
    want.backward()
    parameters = dict(model.named_parameters())
    for loss, grads in dist.run(main, 2):
        assert loss == pytest.approx(want.item(), abs=1e-12)
        for name, grad in grads.items():
            np.testing.assert_allclose(grad, parameters[name].grad.numpy(), rtol=0, atol=1e-12)
    y[...] = -100
    with pytest.raises(ValueError, match="rank 0: all targets are -100"):
        dist.run(main, 2)
