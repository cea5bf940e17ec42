"""Ulysses, ring attention and context parallelism, on simulated ranks."""

from functools import partial

import numpy as np
import pytest
from distributed_cases import long_sequences as cases

import minigrad as mg
from minigrad import distributed as dist
from minigrad import nn, optim
from minigrad.distributed import tensor_parallel
from minigrad.distributed.context_parallel import context_parallel, shard_loss, training_step
from minigrad.distributed.ring_attention import merge, pairs, ring_attention
from minigrad.distributed.shards import positions, shard, unshard
from minigrad.distributed.ulysses import ulysses_attention
from minigrad.inference import KVCache
from minigrad.models import GPT, GPTConfig, Llama, LlamaConfig

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("name", cases.CASES)
def test_attention_and_training_on_shards_are_those_of_one_device(name):
    fn, size, check = cases.CASES[name]
    check(list(dist.run(fn, size)))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("kind", "size", "length", "heads"),
    [
        ("ring", 3, 21, (2, 1)),
        ("ring", 8, 8, (1, 1)),
        ("zigzag ring", 3, 18, (4, 2)),
        ("zigzag ring", 8, 32, (3, 3)),
        ("ulysses", 3, 21, (6, 3)),
        ("ulysses", 8, 8, (8, 8)),
    ],
)
def test_attention_on_other_worlds_lengths_and_heads(kind, size, length, heads, causal):
    given = dict(kind=kind, causal=causal, length=length, heads=heads)
    cases.check_attention(list(dist.run(partial(cases.attention, **given), size)), **given)


@pytest.mark.slow
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", cases.KINDS)
@pytest.mark.parametrize("size", [1, 2, 5, 6, 16])
def test_attention_on_a_larger_grid_of_worlds(kind, size, causal):
    for length, heads in ((2 * size, (size, size)), (6 * size, (2 * size, size))):
        given = dict(kind=kind, causal=causal, length=length, heads=heads)
        cases.check_attention(list(dist.run(partial(cases.attention, **given), size)), **given)


@pytest.mark.parametrize("kind", ["ring", "zigzag ring"])
def test_the_specification_in_differentiable_messages_gives_the_same(kind):
    given = dict(kind=kind, causal=True)
    with mg.use_kernels(False):
        results = list(dist.run(partial(cases.attention, **given), 4))
    cases.check_attention(results, **given)


def test_forward_mode_and_second_derivatives_go_round_the_ring():
    q, k, v, g = cases.drawn(12, (2, 2))
    moves = RNG.normal(size=(3, *q.shape))
    moves = [move[..., : x.shape[-1]] for move, x in zip(moves, (q, k, np.zeros((5,))))]
    moves[2] = RNG.normal(size=v.shape)

    def derivatives(attend, q, k, v, g, moves):
        def norm(k):
            _, pull = mg.vjp(lambda k: (attend(q, k, v) * g).sum(), k)
            return mg.square(pull(np.float64(1.0))[0]).sum()

        moved = mg.jvp(lambda *qkv: attend(*qkv), (q, k, v), tuple(moves))[1]
        return moved, mg.grad(norm)(k)

    def main(comm):
        mine = partial(shard, comm=comm, layout="zigzag", axis=2)
        attend = partial(ring_attention, comm=comm, causal=True, layout="zigzag")
        return derivatives(attend, *map(mine, (q, k, v, g)), [mine(move) for move in moves])

    whole = partial(mg.scaled_dot_product_attention, causal=True)
    wanted = derivatives(whole, q, k, v, g, moves)
    for rank, found in enumerate(dist.run(main, 2)):
        places = positions(12, rank, 2, "zigzag")
        for part, want in zip(found, wanted):
            np.testing.assert_allclose(part, want[:, :, places], rtol=1e-11, atol=1e-11)


def test_float32_keeps_its_dtype_and_large_scores_do_not_overflow():
    q, k, v, _ = (x.astype(np.float32) for x in cases.drawn(16, (2, 2)))

    def main(comm):
        mine = [shard(x, comm, axis=2) for x in (100 * q, k, v)]
        return ring_attention(*mine, comm, causal=True)

    found = np.concatenate(list(dist.run(main, 4)), axis=2)
    assert found.dtype == np.float32
    want = mg.scaled_dot_product_attention(100 * q, k, v, causal=True)
    np.testing.assert_allclose(found, want, rtol=2e-4, atol=2e-4)


def test_merge_is_the_softmax_of_both_parts_in_any_order():
    scores, values = RNG.normal(size=(3, 10)) * 30, RNG.normal(size=(10, 2))

    def part(columns):
        top = scores[:, columns].max(axis=1, keepdims=True)
        p = np.exp(scores[:, columns] - top)
        return top, p.sum(axis=1, keepdims=True), p @ values[columns]

    parts = [part(slice(0, 3)), part(slice(3, 4)), part(slice(4, 10))]
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    want = e @ values / e.sum(axis=1, keepdims=True)
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        seen = None
        for i in order:
            seen = merge(seen, parts[i])
        np.testing.assert_allclose(seen[2] / seen[1], want, rtol=1e-13)


# Layouts


def test_zigzag_gives_each_rank_an_early_and_a_late_chunk():
    held = [positions(16, rank, 4, "zigzag").tolist() for rank in range(4)]
    assert held == [[0, 1, 14, 15], [2, 3, 12, 13], [4, 5, 10, 11], [6, 7, 8, 9]]
    assert positions(12, 1, 4).tolist() == [3, 4, 5]


@pytest.mark.parametrize("layout", ["contiguous", "zigzag"])
def test_shards_put_together_are_the_whole(layout):
    x = RNG.normal(size=(2, 12, 3))

    def main(comm):
        mine = shard(x, comm, layout)
        assert mine.shape == (2, 4, 3)
        return unshard(mine, comm, layout)

    for found in dist.run(main, 3):
        np.testing.assert_array_equal(found, x)


# Work and bytes


def ring_forward(comm, length, layout, pace, causal=True):
    q, k, v, _ = (shard(x, comm, layout, axis=2) for x in cases.drawn(length, (2, 2)))
    ring_attention(q, k, v, comm, causal, layout=layout, seconds_per_pair=pace)


def work(run):
    """Seconds that each rank computed: with a second a pair, its (query, key) pairs."""
    spans = [
        [e.end - e.begin for e in run.events if e.rank == rank and e.kind == "compute"]
        for rank in range(len(run))
    ]
    return [sum(each) for each in spans]


@pytest.mark.parametrize("size", [2, 3, 4, 8])
def test_zigzag_work_is_equal_within_1_percent_and_contiguous_work_is_not(size):
    length = 12 * size
    mask = np.tri(length)
    done = {}
    for layout in ("contiguous", "zigzag"):
        run = dist.run(ring_forward, size, args=(length, layout, 1.0))
        done[layout] = work(run)
        masks = [mask[positions(length, rank, size, layout)].sum() for rank in range(size)]
        np.testing.assert_allclose(done[layout], masks, rtol=1e-6)
    assert max(done["zigzag"]) <= 1.01 * min(done["zigzag"])
    uneven = max(done["contiguous"]) / np.mean(done["contiguous"])
    assert uneven == pytest.approx((2 * size - 1) / size, rel=0.05)


def test_backward_works_two_and_a_half_times_as_long_as_forward():
    def main(comm):
        q, k, v, _ = (shard(x, comm, axis=2) for x in cases.drawn(12, (2, 2)))
        q = mg.tensor(q, requires_grad=True)
        ring_attention(q, k, v, comm, causal=True, seconds_per_pair=2.0).sum().backward()

    assert work(dist.run(main, 2)) == [3.5 * 2 * 21, 3.5 * 2 * (21 + 36)]


def test_every_step_of_the_zigzag_ring_is_balanced_too():
    for step in range(5):
        assert len({pairs(20, rank, 5, step, True, "zigzag") for rank in range(5)}) == 1
    met = [pairs(20, rank, 5, 2, True, "contiguous") for rank in range(5)]
    assert met == [0, 0, 400, 400, 400]


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("kind", ["ring", "zigzag ring"])
def test_bytes_of_the_ring(size, kind):
    def main(comm):
        q, k, v, _ = (shard(x, comm, layout, axis=2) for x in cases.drawn(24, (6, 2)))
        q, k, v = (mg.tensor(x, requires_grad=True) for x in (q, k, v))
        with comm.phase("forward"):
            y = ring_attention(q, k, v, comm, causal=True, layout=layout)
        with comm.phase("backward"):
            y.sum().backward()

    layout = cases.KINDS[kind][1]
    traffic = dist.run(main, size).traffic
    k_and_v = 2 * 2 * (24 // size) * (5 + 7) * 8  # B·n_kv·L/P·(H + Hv) numbers of float64
    assert traffic.sent(phase="forward") == [(size - 1) * k_and_v] * size
    assert traffic.sent(phase="backward") == [2 * (size - 1) * k_and_v] * size


@pytest.mark.parametrize("size", [1, 2, 4])
def test_bytes_of_ulysses(size):
    def main(comm):
        q, k, v, _ = (shard(x, comm, axis=2) for x in cases.drawn(24, (8, 4)))
        q, k, v = (mg.tensor(x, requires_grad=True) for x in (q, k, v))
        with comm.phase("forward"):
            y = ulysses_attention(q, k, v, comm, causal=True)
        with comm.phase("backward"):
            y.sum().backward()

    traffic = dist.run(main, size).traffic
    n = 2 * (24 // size) * 8 * 8 * (5 + 7)  # q and out: B·L/P·n_h·(H + Hv) numbers of float64
    m = 2 * (24 // size) * 4 * 8 * (5 + 7)  # k and v
    for phase in ("forward", "backward"):
        found = traffic.sent(phase=phase, collective="all_to_all")
        assert found == [(n + m) * (size - 1) // size] * size


def test_keys_travel_while_tiles_are_worked_on():
    size, length, alpha, bandwidth = 4, 24, 1e-3, 1e6
    message = alpha + 2 * 2 * (length // size) * (5 + 7) * 8 / bandwidth
    first, other = (pairs(length // size, 0, size, step, True, "zigzag") for step in (0, 1))
    for pace in (1e-6, 1e-4, 1e-2):
        topology = dist.FullyConnected(alpha, bandwidth)
        run = dist.run(ring_forward, size, args=(length, "zigzag", pace), topology=topology)
        waits = max(first * pace, message) + (size - 2) * max(other * pace, message)
        assert run.seconds == pytest.approx(waits + other * pace)


def test_a_contiguous_causal_ring_takes_as_long_as_its_last_rank_which_sees_everything():
    seconds = {
        layout: dist.run(ring_forward, 8, args=(96, layout, 1.0)).seconds
        for layout in ("contiguous", "zigzag")
    }
    every = dist.run(partial(ring_forward, causal=False), 8, args=(96, "contiguous", 1.0)).seconds
    assert seconds["contiguous"] == pytest.approx(every, rel=0.07)
    assert seconds["zigzag"] == pytest.approx(every / 2, rel=0.02)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("kind", cases.KINDS)
def test_bytes_of_a_training_step(kind, size):
    layers, width, heads = 2, 16, 4
    ids = RNG.integers(11, size=(2, 25))

    def main(comm):
        model = GPT(GPTConfig(11, 24, width, heads, layers), seed=0).astype("float64")
        model = context_parallel(model, comm, *cases.KINDS[kind])
        optimizer = optim.AdamW(model.parameters())
        x, y = ids[:, :-1], ids[:, 1:]
        training_step(model, optimizer, x, y, comm, cases.KINDS[kind][1])
        return model.num_parameters, len(model.parameters())

    run = dist.run(main, size)
    one = 2 * (24 // size) * width * 8  # bytes of B·L/P·D numbers: a rank's q, k, v or output
    forward = {"ulysses": 4 * one * (size - 1) // size}.get(kind, (size - 1) * 2 * one)
    backward = {"ulysses": forward}.get(kind, 2 * forward)
    doubled = {2: 1, 4: 2}[size]  # AllReduces of few bytes: log₂P messages of them all
    parameters, tensors = run[0]
    want = {
        "backward": layers * backward,
        "gradients": doubled * 8 * parameters,
        "which gradients there are": doubled * tensors,
        "": layers * forward + doubled * 8,  # and the loss
    }
    assert {phase: set(run.traffic.sent(phase=phase)) for phase in want} == {
        phase: {nbytes} for phase, nbytes in want.items()
    }


# Models


def test_a_llama_with_rotary_positions_and_shared_keys_runs_on_shards():
    config = LlamaConfig(13, 16, 24, 4, 2, d_hidden=20, n_kv_heads=2)
    ids = RNG.integers(13, size=(2, 16))

    def main(comm):
        model = context_parallel(Llama(config, seed=0).astype("float64"), comm, "ring", "zigzag")
        places = positions(16, comm.rank, comm.size, "zigzag")
        return model(ids[:, places], positions=places).numpy()

    want = Llama(config, seed=0).astype("float64")(ids).numpy()
    for rank, found in enumerate(dist.run(main, 4)):
        places = positions(16, rank, 4, "zigzag")
        np.testing.assert_allclose(found, want[:, places], rtol=0, atol=1e-12)


def test_losses_of_half_precision_are_added_up_in_float32():
    y = RNG.integers(4, size=(4, 64))

    def main(comm):
        sure = lambda ids, positions: mg.Tensor(
            1000 * (np.arange(4) == (y[:, positions, None] + 1) % 4), dtype=np.float16
        )
        return shard_loss(sure, y, y, comm, "zigzag").item()

    run = dist.run(main, 2)
    assert sum(run) == pytest.approx(1000, rel=1e-6)  # 256 of them are more than float16 has room


# Bad input


def test_decoding_with_a_cache_is_refused_and_not_done_on_the_own_shard_alone():
    def main(comm):
        config = LlamaConfig(13, 16, 24, 4, 2, d_hidden=20)
        model = context_parallel(Llama(config, seed=0), comm)
        cache = KVCache(model, 1, 8)
        for token in (3, 4):
            model(np.array([[token]]), cache=cache)

    with pytest.raises(ValueError, match="rank 0 has 1 queries and 2 keys"):
        dist.run(main, 2)


def test_more_ranks_than_heads_are_refused():
    def main(comm):
        x = np.ones((1, 4, 2, 3))
        return ulysses_attention(x, x[:, :2], x[:, :2], comm)

    with pytest.raises(
        ValueError, match="rank 0: k has 2 heads, which do not divide among 4 ranks"
    ):
        dist.run(main, 4)


def test_lengths_that_do_not_divide_are_refused():
    ids = np.zeros((1, 12), int)
    model = GPT(GPTConfig(5, 16, 8, 2, 1), seed=0)
    with pytest.raises(ValueError, match="12 positions do not divide into 8 equal chunks"):
        dist.run(lambda comm: shard_loss(model, ids, ids, comm, "zigzag"), 4)
    with pytest.raises(ValueError, match=r"targets \(1, 11\) for ids \(1, 12\); expected as many"):
        dist.run(lambda comm: shard_loss(model, ids, ids[:, 1:], comm), 4)
    with pytest.raises(ValueError, match=r"has 3 queries and 3 keys; expected .* 2 equal chunks"):
        x = np.ones((1, 1, 3, 2))
        dist.run(lambda comm: ring_attention(x, x, x, comm, layout="zigzag"), 2)
    with pytest.raises(ValueError, match="layout is 'striped'"):
        positions(12, 0, 2, "striped")


@pytest.mark.parametrize("attend", [ulysses_attention, ring_attention])
def test_shards_of_different_length_or_dtype_stop_all_ranks(attend):
    def lengths(comm):
        x = np.ones((1, 2, 3 + comm.rank, 2))
        return attend(x, x, x, comm)

    def dtypes(comm):
        x = np.ones((1, 2, 4, 2), "float32" if comm.rank else "float64")
        return attend(x, x, x, comm)

    for main in (lengths, dtypes):
        with pytest.raises(dist.DistributedError, match="rank 1"):
            dist.run(main, 2)


def test_heads_are_divided_first():
    def main(comm):
        model = context_parallel(GPT(GPTConfig(12, 8, 8, 2, 1), seed=0), comm)
        return tensor_parallel.shard(model, comm)

    with pytest.raises(ValueError, match="shard it first, then call context_parallel"):
        dist.run(main, 2)


def test_settings_that_would_not_compute_the_same_are_refused():
    def converted(comm, *settings, dropout=0.0):
        return context_parallel(GPT(GPTConfig(5, 8, 4, 2, 1, dropout=dropout)), comm, *settings)

    def run(*settings, **given):
        dist.run(lambda comm: converted(comm, *settings, **given), 2)

    with pytest.raises(ValueError, match="layout 'zigzag' is for kind 'ring'"):
        run("ulysses", "zigzag")
    with pytest.raises(ValueError, match="kind must be one of 'ring', 'ulysses', got 'star'"):
        run("star")
    with pytest.raises(ValueError, match=r"drops with p = 0\.1; expected 0"):
        run("ring", dropout=0.1)

    def masked(comm):
        mask = np.array([[True, True, False, True]])
        return converted(comm)(np.zeros((1, 4), int), mask=mask)

    with pytest.raises(ValueError, match="rank 0 was given a mask"):
        dist.run(masked, 2)

    latent = nn.Sequential(nn.MultiHeadLatentAttention(8, 2, 4, 4))
    with pytest.raises(ValueError, match="0 is a MultiHeadLatentAttention"):
        dist.run(lambda comm: context_parallel(latent, comm), 2)
    with pytest.raises(ValueError, match="MLP has no MultiHeadAttention"):
        dist.run(lambda comm: context_parallel(nn.MLP(4), comm), 2)


@pytest.mark.parametrize(("kind", "layout"), [("ring", "zigzag"), ("ulysses", "contiguous")])
def test_heads_can_be_divided_as_well_as_positions(kind, layout):
    def built():
        return GPT(GPTConfig(12, 8, 8, 4, 2), seed=0).astype("float64")

    ids = RNG.integers(12, size=(2, 8))

    def main(comm):
        tensor = comm.split(comm.rank // 2, comm.rank)
        context = comm.split(comm.rank % 2, comm.rank)
        model = context_parallel(tensor_parallel.shard(built(), tensor), context, kind, layout)
        places = positions(8, context.rank, 2, layout)
        logits = model(shard(ids, context, layout), positions=places)
        return unshard(tensor.all_gather(logits.numpy(), axis=2), context, layout)

    for found in dist.run(main, 4):
        np.testing.assert_allclose(found, built()(ids).numpy(), rtol=0, atol=1e-12)


def test_a_model_keeps_the_names_of_its_parameters():
    model = GPT(GPTConfig(5, 8, 4, 2, 1))
    names = [name for name, _ in model.named_parameters()]

    def main(comm):
        return [name for name, _ in context_parallel(model, comm).named_parameters()]

    assert dist.run(main, 1)[0] == names
