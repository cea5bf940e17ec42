"""Tensor parallelism: one device's numbers, the textbook's bytes, clear errors."""

import functools

import numpy as np
import pytest
from distributed_cases import tensor_parallel as cases

import minigrad as mg
from minigrad import distributed as dist
from minigrad import nn
from minigrad.distributed import sequence_parallel, tensor_parallel
from minigrad.models import GPT, GPTConfig, Llama, LlamaConfig

B, L, D, V, LAYERS = 2, 48, 96, 40, 2  # b·s·h of float64 is over 64 KB: large enough for rings


def on(size, **options):
    """Decorator: run the function on so many ranks, here and now."""
    return lambda fn: dist.run(fn, size, **options)


def model_of(heads=4, **changes):
    config = GPTConfig(V, 64, D, heads, LAYERS, **{"bias": True, **changes})
    return GPT(config, seed=0).astype(np.float64)


def ids_of(seed=0):
    text = np.random.default_rng(seed).integers(0, V, (B, L + 1))
    return text[:, :-1], text[:, 1:]


@pytest.mark.parametrize("name", cases.CASES)
def test_training_and_decoding_equal_one_device(name):
    fn, size, check = cases.CASES[name]
    check(dist.run(fn, size))


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_any_number_of_ranks_that_divides_the_heads_trains_alike(size):
    fn, size, check = cases.tensor_case("GPT", size)
    check(dist.run(fn, size))


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 12])
@pytest.mark.parametrize("name", cases.MODELS)
def test_all_models_on_all_sizes_of_world(name, size):
    if name == "tied Llama, shared heads" and size not in (1, 2, 4):
        pytest.skip("4 heads of keys")
    fn, size, check = cases.tensor_case(name, size)
    check(dist.run(fn, size))


def test_column_and_row_linear_are_the_whole_layers_and_their_gradients():
    rng = np.random.default_rng(1)
    A, b = rng.normal(size=(5, 12)), rng.normal(size=12)
    C, d = rng.normal(size=(12, 7)), rng.normal(size=7)
    x, weigh = rng.normal(size=(2, 3, 5)), rng.normal(size=(2, 3, 7))

    def layers():
        up, down = nn.Linear(5, 12).astype(np.float64), nn.Linear(12, 7).astype(np.float64)
        up.load_state_dict({"weight": A, "bias": b})
        down.load_state_dict({"weight": C, "bias": d})
        return up, down

    @on(4)
    def run(comm):
        region = tensor_parallel.Region(comm)
        up, down = layers()
        up, down = tensor_parallel.ColumnLinear(up, region), tensor_parallel.RowLinear(down, region)
        inside = mg.Tensor(x, requires_grad=True)
        hidden = up(inside)
        y = down(hidden)
        (y * y * weigh).sum().backward()
        grads = [p.grad.numpy() for p in (up.weight, up.bias, down.weight, down.bias, inside)]
        return hidden.numpy(), y.numpy(), grads

    hidden = x @ A + b
    y = hidden @ C + d
    dy = 2 * y * weigh
    dh = dy @ C.T
    flat = [each.reshape(6, -1) for each in (x, hidden, dy, dh)]
    for rank, (got_hidden, got_y, grads) in enumerate(run):
        own = slice(3 * rank, 3 * rank + 3)
        np.testing.assert_allclose(got_hidden, hidden[..., own], rtol=1e-12)
        np.testing.assert_allclose(got_y, y, rtol=1e-12)
        want = (
            (flat[0].T @ flat[3])[:, own],
            flat[3].sum(0)[own],
            (flat[1].T @ flat[2])[own],
            flat[2].sum(0),
            dh @ A.T,
        )
        for got, exact in zip(grads, want):
            np.testing.assert_allclose(got, exact, rtol=1e-11)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_cross_entropy_of_cut_logits_is_that_of_whole_ones(dtype):
    rng = np.random.default_rng(2)
    logits = (rng.normal(size=(3, 5, 12)) * 3 + 900).astype(dtype)  # a large common offset
    targets = rng.integers(0, 12, (3, 5))
    targets[1, 2:4] = -100

    @on(3)
    def run(comm):
        own = mg.Tensor(np.split(logits, 3, -1)[comm.rank], requires_grad=True)
        loss = tensor_parallel.cross_entropy(own, targets, comm)
        (loss * 7).backward()
        return loss.numpy(), own.grad.numpy()

    shifted = logits.astype(np.float64) - 900
    p = np.exp(shifted) / np.exp(shifted).sum(-1, keepdims=True)
    counted = targets != -100
    onehot = np.eye(12)[np.where(counted, targets, 0)]
    loss = -(np.log((p * onehot).sum(-1)) * counted).sum() / 13
    grad = 7 * (p - onehot) * counted[..., None] / 13
    tolerance = 1e-12 if dtype == np.float64 else 2e-6
    for rank, (got, got_grad) in enumerate(run):
        assert got.dtype == got_grad.dtype == dtype
        np.testing.assert_allclose(got, loss, rtol=tolerance)
        np.testing.assert_allclose(got_grad, np.split(grad, 3, -1)[rank], atol=tolerance)


def step(comm, shard=tensor_parallel.shard):
    part = shard(model_of(), comm)
    ids, targets = ids_of()
    with comm.phase("forward"):
        logits = part(ids)
    with comm.phase("loss"):
        loss = tensor_parallel.cross_entropy(logits, targets, comm)
    with comm.phase("backward"):
        loss.backward()
    return part


@pytest.mark.parametrize("size", [2, 4])
def test_a_step_moves_two_all_reduces_a_block_each_way_and_one_for_the_ends(size):
    run = dist.run(step, size)
    bsh = B * L * D * 8
    ring = 2 * (size - 1) * bsh // size  # bytes that a rank sends in an AllReduce of bsh
    each_way = [(2 * LAYERS + 1) * ring] * size  # + 1: g of the embedding, f of the head
    assert run.traffic.sent(phase="forward") == each_way
    assert run.traffic.sent(phase="backward") == each_way
    assert {flow.collective for flow in run.traffic.flows} == {"all_reduce"}
    # Small messages are doubled recursively: log₂P of them, of 1 and 2 numbers a token.
    small = {2: 1, 4: 2}[size] * 3 * B * L * 8
    assert run.traffic.sent(phase="loss") == [small] * size


@pytest.mark.parametrize("size", [2, 4])
def test_a_rank_holds_its_share_of_matrices_and_all_of_the_rest(size):
    run = dist.run(lambda comm: tensor_parallel.shard(model_of(), comm).num_parameters, size)
    matrices = LAYERS * 12 * D * D + 2 * V * D + LAYERS * 7 * D  # biases of Q, K, V and hidden
    rest = 64 * D + LAYERS * 2 * D + (2 * LAYERS + 1) * 2 * D  # positions, biases, norms
    assert model_of().num_parameters == matrices + rest
    assert list(run) == [matrices // size + rest] * size


@pytest.mark.parametrize("size", [1, 2, 4])
def test_sharding_and_gathering_give_back_every_bit(size):
    whole = model_of(tie_weights=True)
    want = whole.state_dict()

    def main(comm):
        part = tensor_parallel.shard(whole, comm)
        got = tensor_parallel.gather_state(part, comm)
        part.norm.weight.data[...] = 7.0  # the model keeps arrays of its own
        return got

    for state in dist.run(main, size):
        assert list(state) == list(want)
        assert all(np.array_equal(state[name], want[name]) for name in want)
    assert np.array_equal(whole.norm.weight.data, want["norm.weight"])


def test_a_rank_keeps_keys_and_values_of_its_heads_alone():
    @on(4)
    def run(comm):
        part = tensor_parallel.shard(model_of(), comm)
        cache = tensor_parallel.HeadCache(part, 2, 30)
        part(ids_of()[0][:, :7], cache=cache)
        part(ids_of()[0][:, 7:8], cache=cache)
        return cache.kept.nbytes, cache.length

    whole = 2 * LAYERS * D * 2 * 30 * 8  # keys and values, layers, width, batch, tokens, bytes
    assert list(run) == [(whole // 4, 8)] * 4


def test_equally_likely_words_are_chosen_as_on_one_device():
    @on(4)
    def run(comm):
        model = model_of()
        model.head.weight.data[...] = 1.0
        part = tensor_parallel.shard(model, comm)
        return tensor_parallel.greedy(part, ids_of()[0][:, :4], 3, comm)[:, 4:]

    assert all((text == 0).all() for text in run)


def test_a_padded_batch_gives_the_same_logits():
    ids, mask = ids_of()[0], np.ones((B, L), bool)
    mask[1, :5] = False
    want = model_of()(ids, mask=mask).numpy()

    @on(2)
    def run(comm):
        return tensor_parallel.shard(model_of(), comm)(ids, mask=mask).numpy()

    got = np.concatenate(list(run), -1)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(got[1, 5:], want[1, 5:], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("shard", [tensor_parallel.shard, sequence_parallel.shard])
def test_what_is_frozen_stays_frozen(shard):
    def main(comm):
        whole = cases.frozen(model_of())
        part = shard(whole, comm)
        kept = {name for name, p in whole.named_parameters() if p.requires_grad}
        return kept, {name for name, p in part.named_parameters() if p.requires_grad}

    for want, got in dist.run(main, 2):
        assert want and got == want


def latent():
    return Llama(LlamaConfig(12, 8, 8, 2, 1, 8, d_latent=4, d_rope=2), seed=0)


def grouped():
    return Llama(LlamaConfig(12, 8, 12, 6, 1, 12, n_kv_heads=2, d_head=2), seed=0)


def with_experts():
    model = GPT(GPTConfig(12, 8, 8, 2, 1), seed=0)
    model.blocks[0].mlp = nn.MixtureOfExperts(8, 4, 2, 6)
    return model


REFUSED = {
    "heads": (
        lambda: GPT(GPTConfig(12, 8, 8, 4, 1)),
        3,
        ValueError,
        "4 heads of queries do not divide among 3 ranks",
    ),
    "shared heads": (grouped, 3, ValueError, "2 heads of keys and values do not divide among 3"),
    "hidden units": (
        lambda: Llama(LlamaConfig(12, 8, 8, 4, 1, 10), seed=0),
        4,
        ValueError,
        "10 columns do not divide among 4",
    ),
    "vocabulary": (
        lambda: GPT(GPTConfig(13, 8, 8, 2, 1)),
        2,
        ValueError,
        "13 words do not divide among 2 ranks",
    ),
    "latent attention": (latent, 2, TypeError, "MultiHeadLatentAttention is not cut by heads"),
    "experts": (
        with_experts,
        2,
        TypeError,
        "MixtureOfExperts is not cut by hidden units here",
    ),
    "another model": (lambda: nn.Linear(4, 4), 2, TypeError, "Linear is no GPT and no Llama"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_ranks_cannot_divide_is_refused(what):
    build, size, kind, words = REFUSED[what]
    with pytest.raises(kind, match=words):
        dist.run(lambda comm: tensor_parallel.shard(build(), comm), size)


@pytest.mark.parametrize(
    ("targets", "kind", "words"),
    [
        (np.array([[0, 12]]), IndexError, "run from 0 to 12; expected 0 to 11, 6 on each of 2"),
        (np.array([[0, -1]]), IndexError, "run from -1 to 0"),
        (np.array([0, 1]), ValueError, r"targets int64 \(2,\); expected integers \(1, 2\)"),
        (np.array([[0.0, 1.0]]), ValueError, "targets float64"),
    ],
)
def test_targets_that_do_not_fit_are_refused(targets, kind, words):
    logits = np.random.default_rng(0).normal(size=(1, 2, 6))
    with pytest.raises(kind, match=words):
        dist.run(lambda comm: tensor_parallel.cross_entropy(mg.Tensor(logits), targets, comm), 2)


def test_a_rank_with_another_dtype_stops_all():
    def main(comm):
        model = model_of().astype(np.float32 if comm.rank == 1 else np.float64)
        return tensor_parallel.shard(model, comm)(ids_of()[0])

    with pytest.raises(dist.DistributedError, match="they differ in the dtype"):
        dist.run(main, 2)


def test_ids_and_prompts_that_do_not_fit_are_refused():
    def main(comm, ids, new):
        return tensor_parallel.greedy(tensor_parallel.shard(model_of(), comm), ids, new, comm)

    for ids, new, kind, words in (
        ([1, 2], 3, ValueError, r"expected \(B, L\)"),
        ([[1, 2]], -1, ValueError, "no negative number"),
        ([[1, V]], 2, IndexError, f"expected 0 to {V - 1}"),
        ([[1] * 60], 9, ValueError, "context_length = 64"),
    ):
        with pytest.raises(kind, match=words):
            dist.run(functools.partial(main, ids=ids, new=new), 2)
