"""Tests of exercise 24: ZeRO."""

import math

import numpy as np

from minigrad.course.testing import at_most, expect, fail, given, per_rank
from minigrad.distributed import FullyConnected

#: a message takes 1 s, and each number (of 8 bytes) another
CLOCK = FullyConnected(alpha=1.0, bandwidth=8.0)
PARTS = ("weights", "gradients", "optimizer")


def once_a_layer(run, name, sizes):
    """Check that 4 ranks made one call for each layer, of so many numbers in all."""
    count = run.called(name)[0]
    at_most(count, len(sizes), f"calls of {name}", "more is sent than each layer once")
    if count < len(sizes):
        fail(
            f"The values are right. But {name} is called {count} times for {len(sizes)} layers.\n\n"
            "Likely mistake: several layers are sent as one, and there is no room for them: one "
            "call for each layer."
        )
    sent = [e.nbytes for e in run.events if e.kind == "communicate" and e.rank == 0]
    if sorted(sent) != sorted(8 * 3 * (size // 4) for size in sizes):
        fail(
            f"The values are right. But the calls of {name} send {sent} bytes, and 3/4 of each "
            "layer's are wanted.\n\nLikely mistake: a call does not carry one whole layer."
        )


def states(psi, P, stage, kappa, shared=lambda part, stage: stage > part):
    """{part: bytes}; shared(number of the part in the order of stages, stage)."""
    whole = {"optimizer": kappa * psi, "gradients": 2 * psi, "weights": 2 * psi}
    divided = {
        name: float(nbytes / P if shared(part, stage) else nbytes)
        for part, (name, nbytes) in enumerate(whole.items())
    }
    return {name: divided[name] for name in PARTS}


def wrong_states(psi, P, stage, kappa):
    right = states(psi, P, stage, kappa)
    only = lambda part, stage: stage == part + 1
    wrong = {
        "each stage shares out what those below it do, too": states(psi, P, stage, kappa, only),
        "a stage too early: stage 0 shares out nothing": states(psi, P, stage + 1, kappa),
        "a stage too late: stage 1 shares out the optimizer states": states(
            psi, P, stage - 1, kappa
        ),
        "nothing is shared out": states(psi, P, 0, kappa),
        "everything is shared out in every stage": states(psi, P, 3, kappa),
        "the master weights are forgotten: kappa bytes in all": states(psi, P, stage, kappa - 4),
        "kappa is taken as 12, whatever it is": states(psi, P, stage, 12),
        "weights and gradients have 2 bytes a parameter, not 4": right
        | {name: 2 * right[name] for name in ("weights", "gradients")},
    }
    return {words: value for words, value in wrong.items() if value != right}


def test_a_thousand_parameters_on_four_ranks(answer):
    want = {"weights": 2000.0, "gradients": 2000.0, "optimizer": 3000.0}
    expect(answer.model_state_bytes(1000, 4, 1), want, wrong_states(1000, 4, 1, 12))


def test_bytes_of_every_stage(answer, rng):
    for stage in range(4):
        for P in (2, 8, 64):
            psi, kappa = int(rng.integers(10**6, 10**9)), int(rng.integers(5, 20))
            case = psi, P, stage, kappa
            expect(answer.model_state_bytes(*case), states(*case), wrong_states(*case))


def least(psi, P):
    return [sum(states(psi, P, stage, 12).values()) for stage in range(4)]


def check_first_stage(answer, psi, P, memory, want, just=False):
    fitting = lambda room: next((s for s, size in enumerate(least(psi, P)) if size <= room), None)
    mistakes = {
        "memory is that of one rank, not of all P together": fitting(memory * P),
        "memory is in bytes, and 1 GB is 10⁹ of them, not 2³⁰": fitting(memory * 2**30 / 1e9),
        "memory is in bytes, and 1 GB is not 2³⁰ of them": fitting(memory / 2**30 * 1e9),
        "the highest stage is taken, not the lowest that fits": 3,
    }
    mistakes = {words: stage for words, stage in mistakes.items() if stage != want}
    if just:
        mistakes = {
            "memory may be used up to the last byte: <=, not <": next_stage(want)
        } | mistakes
    if want is None:
        mistakes = {"stage 3 is taken where it does not fit: None": 3} | mistakes
    expect(answer.first_stage_that_fits(psi, P, memory), want, mistakes)


def next_stage(stage):
    return stage + 1 if stage < 3 else None


def test_seven_billion_parameters_on_eight_gpus(answer):
    psi, P = 7 * 10**9, 8
    always = "the lowest stage is taken, whether it fits or not"
    expect(answer.first_stage_that_fits(psi, P, 1e9), None, {always: 0})
    for memory, want in ((80e9, 1), (30e9, 2), (150e9, 0), (20e9, 3), (13e9, None)):
        check_first_stage(answer, psi, P, memory, want)


def test_the_first_stage_of_any_model(answer, rng):
    for _ in range(15):
        psi, P = 1024 * int(rng.integers(10**3, 10**6)), int(rng.choice([2, 4, 16, 64]))
        for stage, nbytes in enumerate(least(psi, P)):
            check_first_stage(answer, psi, P, nbytes, stage, just=True)
            check_first_stage(answer, psi, P, 0.999 * nbytes, next_stage(stage))


def padded(w, P):
    """(P, ⌈n/P⌉): all shares, by index."""
    n = math.ceil(len(w) / P)
    return np.array(
        [[w[r * n + i] if r * n + i < len(w) else 0.0 for i in range(n)] for r in range(P)]
    )


def wrong_shares(w, P, rank):
    n, down = math.ceil(len(w) / P), len(w) // P
    middle = "a rank in the middle may have nothing left, too: its share is zeros"
    mistakes = {middle: w[rank * n : (rank + 1) * n]} if 0 < rank < P - 1 else {}
    return mistakes | {
        "every P-th number is taken, not successive ones": lambda: padded(w, P).reshape(-1)[
            rank::P
        ],
        "shares are rounded down, and the last numbers belong to nobody": w[
            rank * down : (rank + 1) * down
        ],
        "the last share is shorter: zeros are missing": w[rank * n : (rank + 1) * n],
        "the zeros stand in front": padded(w[::-1], P).reshape(-1)[::-1][rank * n : (rank + 1) * n],
        "shares differ in length: the first ones have a number more": np.array_split(w, P)[rank],
    }


def test_the_shares_of_five_numbers(answer):
    w = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    for rank, want in enumerate(([1.0, 2.0], [3.0, 4.0], [5.0, 0.0])):
        expect(answer.share(w, 3, rank), np.array(want), wrong_shares(w, 3, rank))


def test_shares_of_any_array(answer, rng):
    for n, P in ((12, 4), (13, 4), (15, 4), (9, 5), (2, 5), (7, 1)):
        w = rng.normal(size=n)
        for rank in range(P):
            mistakes = wrong_shares(w, P, rank) if P > 1 else {}
            expect(answer.share(w, P, rank), padded(w, P)[rank], mistakes)


def adam_by_hand(w, g, m, v, t):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
    step = (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
    return w - 0.01 * step, m, v


def drawn(rng, P, n, t):
    """Weights, every rank's gradient, and the states of all (n,) after some steps."""
    v = rng.uniform(0.5, 2.0, size=n) * 1e-3
    return rng.normal(size=n), rng.normal(size=(P, n)), 0.3 * rng.normal(size=n), v, t


def after(P, w, m, v):
    """What each rank returns: all weights, and the states of its share."""
    return [(w, padded(m, P)[r], padded(v, P)[r]) for r in range(P)]


def wrong_steps(w, g, m, v, t):
    P, n = g.shape
    right = after(P, *adam_by_hand(w, g.mean(axis=0), m, v, t))
    summed = after(P, *adam_by_hand(w, g.sum(axis=0), m, v, t))
    mixed, size = w.copy(), padded(w, P).shape[1]
    own = []
    for r in range(P):
        mine = slice(r * size, min((r + 1) * size, n))
        new = adam_by_hand(w, g[r], m, v, t)
        mixed[mine] = new[0][mine]
        own.append(new)
    alone = [(mixed, padded(own[r][1], P)[r], padded(own[r][2], P)[r]) for r in range(P)]
    longer = [(np.append(new, np.zeros(P * size - n)), a, b) for new, a, b in right]
    mistakes = {
        "gradients are added up, and not averaged": summed,
        "a rank's share is updated with its own gradient, without the others'": alone,
        "only the rank's share of the weights is returned: the others are to be gathered": [
            (padded(right[r][0], P)[r], *right[r][1:]) for r in range(P)
        ],
        "the states come back as they were": [
            (right[r][0], padded(m, P)[r], padded(v, P)[r]) for r in range(P)
        ],
        "adam's result is not used: it returns new arrays, and leaves w, m, v as they are": after(
            P, w, m, v
        ),
    }
    if n % P:
        mistakes["the zeros that were added are still at the end of the weights"] = longer
    return mistakes


def check_step(answer, case):
    w, g, m, v, t = case
    P = len(g)
    function = answer.stage_1_step.on_ranks(P, may_use=("reduce_scatter", "all_gather"))
    run = function(w, per_rank(g), per_rank(padded(m, P)), per_rank(padded(v, P)), t)
    want = after(P, *adam_by_hand(w, g.mean(axis=0), m, v, t))
    expect(run, want, wrong_steps(*case) if P > 1 else {})
    return run


def test_two_ranks_make_their_first_step(answer):
    g = np.array([[1.0, -3.0, 2.0, 0.5], [3.0, -1.0, -6.0, 1.5]])
    check_step(answer, (np.array([1.0, 2.0, 3.0, 4.0]), g, np.zeros(4), np.zeros(4), 1))


def test_a_step_of_any_number_of_ranks(answer, rng):
    for P, n, t in ((1, 5, 1), (3, 12, 4), (4, 13, 2), (5, 8, 7)):
        check_step(answer, drawn(rng, P, n, t))


def test_a_step_sends_no_more_than_an_all_reduce(answer, rng):
    run = check_step(answer, drawn(rng, 4, 24, 3))
    more = "more is sent than the gradient once and the weights once: reduce_scatter, all_gather"
    at_most(max(run.called("reduce_scatter")), 1, "calls of reduce_scatter", more)
    at_most(max(run.called("all_gather")), 1, "calls of all_gather", more)
    at_most(max(run.traffic.sent()), 2 * 3 * 24 // 4 * 8, "bytes that a rank sends", more)


def wrong_reductions(gradients, held):
    """{words: wrong shares on each rank}; gradients[rank][layer] (n,), held[rank][layer] (n/P,)."""
    P = len(gradients)
    layers = range(len(gradients[0]))
    cut = lambda x, r: x.reshape(P, -1)[r]
    total = [sum(gradients[r][i] for r in range(P)) for i in layers]
    build = lambda f: [[f(r, i) for i in layers] for r in range(P)]
    return {
        "gradients are added up over ranks, and not averaged": build(
            lambda r, i: held[r][i] + cut(total[i], r)
        ),
        "what earlier micro-batches have brought is lost": build(lambda r, i: cut(total[i], r) / P),
        "a rank adds its own gradient's share, without the others'": build(
            lambda r, i: held[r][i] + cut(gradients[r][i], r)
        ),
        "what is held is averaged with the new gradient, not added": build(
            lambda r, i: (held[r][i] + cut(total[i], r) / P) / 2
        ),
    }


def check_reduction(answer, gradients, held):
    P = len(gradients)
    function = answer.reduce_layers.on_ranks(P, may_use=("reduce_scatter",))
    run = function(per_rank(gradients), per_rank(held))
    want = []
    for r in range(P):
        parts = [sum(several).reshape(P, -1)[r] / P for several in zip(*gradients)]
        want.append([h + part for h, part in zip(held[r], parts)])
    expect(run, want, wrong_reductions(gradients, held) if P > 1 else {})
    return run


def test_two_ranks_keep_their_shares_of_two_layers(answer):
    gradients = [
        [np.array([1.0, 2.0]), np.array([1.0, 3.0, 5.0, 7.0])],
        [np.array([3.0, 6.0]), np.array([3.0, 5.0, 7.0, 9.0])],
    ]
    held = [
        [np.array([10.0]), np.array([0.5, 0.0])],
        [np.array([20.0]), np.array([0.0, 100.0])],
    ]
    check_reduction(answer, gradients, held)


def test_layers_of_any_number_of_ranks(answer, rng):
    for P, sizes in ((1, [3, 2]), (3, [6, 3, 12]), (4, [8, 20])):
        gradients = [[rng.normal(size=n) for n in sizes] for _ in range(P)]
        held = [[rng.normal(size=n // P) for n in sizes] for _ in range(P)]
        check_reduction(answer, gradients, held)


def test_a_layer_is_one_call(answer, rng):
    sizes = [8, 4, 16]
    gradients = [[rng.normal(size=n) for n in sizes] for _ in range(4)]
    held = [[rng.normal(size=n // 4) for n in sizes] for _ in range(4)]
    run = check_reduction(answer, gradients, held)
    once_a_layer(run, "reduce_scatter", sizes)


def clipped(shares, norm, most):
    scale = most / norm if norm > most else 1.0
    return [([g * scale for g in rank], norm) for rank in shares]


def wrong_clips(shares, most):
    squares = [sum((g**2).sum() for g in rank) for rank in shares]
    norm, own = math.sqrt(sum(squares)), [math.sqrt(s) for s in squares]
    scaled = lambda factor: [([g * factor for g in rank], norm) for rank in shares]
    if not norm:
        return {}
    layers = [math.sqrt(sum((g**2).sum() for g in several)) for several in zip(*shares)]
    mean = norm / math.sqrt(len(shares))
    return {
        "each layer is scaled by its own norm: they have one, together": [
            ([g * min(1.0, most / n) if n else g for g, n in zip(rank, layers)], norm)
            for rank in shares
        ],
        "the ranks' squares are averaged, not added up": clipped(shares, mean, most),
        "each rank takes the norm of its own shares": [
            clipped([rank], own_norm, most)[0] for rank, own_norm in zip(shares, own)
        ],
        "the ranks' norms are added up: it is their squares that add up": clipped(
            shares, sum(own), most
        ),
        "the root of the sum of squares is missing": clipped(shares, sum(squares), most),
        "a norm that is small enough is scaled up: do nothing then": scaled(most / norm),
        "the norm after clipping is returned, not that before": [
            (rank, min(norm, most)) for rank, _ in clipped(shares, norm, most)
        ],
        "gradients are not scaled": scaled(1.0),
    }


def check_clip(answer, shares, most):
    norm = math.sqrt(sum(float((g**2).sum()) for rank in shares for g in rank))
    run = answer.clip.on_ranks(len(shares), may_use=("all_reduce",))(per_rank(shares), most)
    expect(run, clipped(shares, norm, most), wrong_clips(shares, most))
    return run


def test_two_ranks_with_a_norm_of_13(answer):
    shares = [[np.array([3.0]), np.array([0.0, 0.0])], [np.array([4.0]), np.array([0.0, -12.0])]]
    check_clip(answer, shares, 6.5)
    check_clip(answer, shares, 20.0)


def test_norms_of_any_number_of_ranks(answer, rng):
    for P, most in ((1, 0.5), (3, 1.5), (5, 100.0), (4, 2.0)):
        shares = [[rng.normal(size=n) for n in (3, 1, 4)] for _ in range(P)]
        check_clip(answer, shares, most)
    check_clip(answer, [[np.zeros(2), np.zeros(3)] for _ in range(2)], 1.0)


def test_a_single_number_is_sent(answer, rng):
    run = check_clip(answer, [[rng.normal(size=n) for n in (5, 2)] for _ in range(4)], 1.0)
    at_most(max(run.called("all_reduce")), 1, "calls of all_reduce")
    whole = "gradients are sent: the sum of their squares will do"
    at_most(max(run.traffic.sent()), 2 * 8, "bytes that a rank sends", whole)


SHAPES = [(3, 4), (4, 5), (5, 2)]  # 12, 20 and 10 numbers


def model(rng, P, shapes=SHAPES, batch=3):
    """Weights, shares[rank][layer], and every rank's own samples."""
    weights = [rng.normal(size=shape) for shape in shapes]
    shares = [[padded(w.reshape(-1), P)[r] for w in weights] for r in range(P)]
    return weights, shares, [rng.normal(size=(batch, shapes[0][0])) for _ in range(P)]


def outputs(weights, x, relu=lambda a: a * (a > 0)):
    """The layers by index."""
    for w in weights:
        x = relu(np.array([[sum(row * column) for column in w.T] for row in x]))
    return x


def wrong_outputs(weights, x):
    return {
        "relu is missing": [outputs(weights, each, lambda a: a) for each in x],
        "relu is missing after the last layer": [
            outputs(weights[-1:], outputs(weights[:-1], each), lambda a: a) for each in x
        ],
        "every rank runs the samples of rank 0": [outputs(weights, x[0]) for _ in x],
        "a layer is left out": lambda: [outputs(weights[:-1], each) for each in x],
    }


def check_forward(answer, weights, shares, x):
    shapes = [w.shape for w in weights]
    function = answer.forward.on_ranks(len(x), may_use=("all_gather",), topology=CLOCK)
    run = function(per_rank(shares), shapes, per_rank(x), given("product_on_a_device", 1))
    expect(run, [outputs(weights, each) for each in x], wrong_outputs(weights, x))
    return run


def test_two_ranks_run_a_small_layer(answer):
    weights = [np.array([[1.0, 2.0], [3.0, -4.0]]), np.array([[2.0], [10.0]])]
    shares = [[padded(w.reshape(-1), 2)[r] for w in weights] for r in range(2)]
    x = [np.array([[1.0, 0.25]]), np.array([[1.0, 1.0]])]
    check_forward(answer, weights, shares, x)


def test_forward_on_any_number_of_ranks(answer, rng):
    for P in (1, 2, 3, 4, 7):
        weights, shares, x = model(rng, P)
        weights = [np.abs(weights[0]), *weights[1:-1], weights[-1] - weights[-1].min() - 0.5]
        shares = [[padded(w.reshape(-1), P)[r] for w in weights] for r in range(P)]
        check_forward(answer, weights, shares, [np.abs(each) for each in x])


def test_each_layer_is_gathered_once(answer, rng):
    weights, shares, x = model(rng, 4, [(4, 2), (2, 6), (6, 4)], batch=1)
    weights = [np.abs(weights[0]), np.abs(weights[1]), weights[2] + 0.5]
    shares = [[padded(w.reshape(-1), 4)[r] for w in weights] for r in range(4)]
    run = check_forward(answer, weights, shares, [np.abs(each) for each in x])
    once_a_layer(run, "all_gather", [w.size for w in weights])


def running(shares, seconds):
    """(when each layer begins to run, when all is done) on 4 ranks: two exchanges a gathering."""
    gather = [2 * 1 + 3 * len(share) for share in shares]
    begins, now = [], gather[0]
    for i, work in enumerate(seconds):
        begins.append(now)
        arrived = now + gather[i + 1] if i + 1 < len(gather) else now
        now = max(now + work, arrived)
    return begins, now


def check_ahead(answer, weights, shares, x, seconds, room=2):
    shapes = [w.shape for w in weights]
    function = answer.forward_ahead.on_ranks(4, may_use=("all_gather", "compute"), topology=CLOCK)
    product = given("product_on_a_device", room)
    run = function(per_rank(shares), shapes, per_rank(x), product, seconds)
    expect(run, [outputs(weights, each) for each in x], wrong_outputs(weights, x))
    mine = [e for e in run.events if e.rank == 0]
    worked = [e for e in mine if e.kind == "compute"]
    gathered = [e for e in mine if e.kind == "communicate"]
    if abs(sum(e.end - e.begin for e in worked) - sum(seconds)) > 1e-9:
        fail(
            "The values are right. But rank 0 does not work for as long as its layers take: "
            "comm.compute(seconds[i]) for each of them."
        )
    once_a_layer(run, "all_gather", [4 * len(share) for share in shares[0]])
    if len(worked) == len(gathered):
        check_order(worked, gathered)
    waits = "every layer waits for its weights: begin to gather them before the layer before runs"
    at_most(run.seconds, running(shares[0], seconds)[1] + 1e-9, "simulated seconds", waits)


def check_order(worked, gathered):
    """Check that a layer's weights begin to travel just when the layer before begins to run."""
    early = lambda i, other: gathered[i].begin < other - 1e-9
    for i in range(1, len(worked)):
        if not early(i, worked[i - 1].begin):
            continue
        if gathered[-1].end <= worked[0].begin + 1e-9:
            mistake = (
                "comm.compute stands outside the loop, and all layers are gathered before the "
                "first one runs"
            )
        elif any(early(j, worked[j - 2].end) for j in range(2, len(worked))):
            mistake = "more than one layer is fetched ahead, and there is no room for them"
        else:
            mistake = (
                "the rank waits for the next layer's weights before this layer runs: begin with "
                "async_op=True, run, and wait then"
            )
        fail(
            f"The values are right. But the weights of layer {i} are under way at "
            f"{gathered[i].begin:.4g} s, before layer {i - 1} runs, at "
            f"{worked[i - 1].begin:.4g} s.\n\nLikely mistake: {mistake}."
        )


def test_weights_come_while_the_layer_before_runs(answer, rng):
    weights, shares, x = model(rng, 4, [(4, 4)] * 3, batch=1)
    weights = [np.abs(w) for w in weights]
    shares = [[padded(w.reshape(-1), 4)[r] for w in weights] for r in range(4)]
    # With room for all, the times say what is fetched too early.
    check_ahead(answer, weights, shares, [np.abs(each) for each in x], [30.0, 30.0, 30.0], room=3)


def test_fetching_ahead_of_any_layers(answer, rng):
    for scale in (1.0, 10.0):
        weights, _, x = model(rng, 4, batch=1)
        weights = [np.abs(weights[0]), *weights[1:-1], weights[-1] - weights[-1].min() - 0.5]
        shares = [[padded(w.reshape(-1), 4)[r] for w in weights] for r in range(4)]
        seconds = [scale * float(t) / 2 for t in rng.integers(2, 9, size=3)]
        check_ahead(answer, weights, shares, [np.abs(each) for each in x], seconds)
