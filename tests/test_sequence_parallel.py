"""Sequence parallelism: one device's numbers, tensor parallelism's bytes, the paper's memory."""

import functools
import itertools

import numpy as np
import pytest
from distributed_cases import sequence_parallel as cases
from distributed_cases.tensor_parallel import MODELS, sequence_case
from test_tensor_parallel import LAYERS, B, D, L, ids_of, model_of, step

import minigrad as mg
from minigrad import distributed as dist
from minigrad.distributed import sequence_parallel, tensor_parallel
from minigrad.models import GPT, GPTConfig
from minigrad.perf import block_activations, paper_bytes, saved_activations


@pytest.mark.parametrize("name", cases.CASES)
def test_training_equals_one_device(name):
    fn, size, check = cases.CASES[name]
    check(dist.run(fn, size))


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_any_number_of_ranks_that_divides_the_heads_trains_alike(size):
    fn, size, check = sequence_case("GPT", size=size)
    check(dist.run(fn, size))


@pytest.mark.slow
@pytest.mark.parametrize("regather", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 12])
@pytest.mark.parametrize("name", MODELS)
def test_all_models_on_all_sizes_of_world(name, size, regather):
    if name == "tied Llama, shared heads" and size not in (1, 2, 4):
        pytest.skip("4 heads of keys")
    fn, size, check = sequence_case(name, regather, size)
    check(dist.run(fn, size))


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("regather", [False, True])
def test_a_step_moves_as_many_bytes_as_tensor_parallelism(size, regather):
    shard = functools.partial(sequence_parallel.shard, regather=regather)
    run = dist.run(functools.partial(step, shard=shard), size)
    bsh = B * L * D * 8
    half = (size - 1) * bsh // size  # what a rank sends in a ReduceScatter or AllGather of bsh
    pairs = 2 * LAYERS + 1  # + 1: the embedding's end and the head's beginning
    again = pairs if regather else 0
    sent = run.traffic.sent
    assert sent(phase="forward", collective="all_gather") == [pairs * half] * size
    assert sent(phase="forward", collective="reduce_scatter") == [pairs * half] * size
    assert sent(phase="backward", collective="reduce_scatter") == [pairs * half] * size
    assert sent(phase="backward", collective="all_gather") == [(pairs + again) * half] * size
    whole = dist.run(step, size).traffic
    if not regather:
        for phase in ("forward", "loss", "backward"):
            assert sent(phase=phase) == whole.sent(phase=phase)


def test_gradients_of_norms_are_partial_until_they_are_added_up():
    ids, targets = ids_of()
    whole = model_of()
    mg.cross_entropy(whole(ids), targets).backward()
    want = {name: p.grad.numpy() for name, p in whole.named_parameters()}

    def main(comm):
        part = sequence_parallel.shard(model_of(), comm)
        tensor_parallel.cross_entropy(part(ids), targets, comm).backward()
        before = {name: p.grad.numpy() for name, p in part.named_parameters()}
        sequence_parallel.all_reduce_gradients(part, comm)
        return before, {name: p.grad.numpy() for name, p in part.named_parameters()}

    run = dist.run(main, 4)
    shared = [name for name, g in run[0][0].items() if g.shape == want[name].shape]
    assert len(shared) == 1 + 2 * LAYERS + 2 * (2 * LAYERS + 1)  # positions, biases, norms
    for name in shared:
        parts = [before[name] for before, _ in run]
        assert not np.allclose(parts[0], want[name], rtol=1e-3, atol=1e-8), name
        np.testing.assert_allclose(sum(parts), want[name], rtol=1e-9, atol=1e-13)
        for _, after in run:
            np.testing.assert_allclose(after[name], want[name], rtol=1e-9, atol=1e-13)


def test_gradients_of_several_passes_are_added_up_over_ranks_once():
    batches = [ids_of(seed) for seed in (1, 2, 3)]
    whole = model_of()
    for ids, targets in batches:
        mg.cross_entropy(whole(ids), targets).backward()

    def main(comm):
        part = sequence_parallel.shard(model_of(), comm)
        for ids, targets in batches:
            tensor_parallel.cross_entropy(part(ids), targets, comm).backward()
        sequence_parallel.all_reduce_gradients(part, comm)
        return part.norm.weight.grad.numpy()

    for got in dist.run(main, 2):
        np.testing.assert_allclose(got, whole.norm.weight.grad.numpy(), rtol=1e-9, atol=1e-13)


def test_nothing_is_sent_where_all_that_ranks_share_is_frozen():
    ids, targets = ids_of()

    def main(comm):
        part = sequence_parallel.shard(model_of(bias=False), comm)
        for name, parameter in part.named_parameters():
            parameter.requires_grad_("norm" not in name and "position" not in name)
        tensor_parallel.cross_entropy(part(ids), targets, comm).backward()
        with comm.phase("gradients"):
            sequence_parallel.all_reduce_gradients(part, comm)
        return part.norm.weight.grad

    run = dist.run(main, 2)
    assert list(run) == [None, None]
    assert run.traffic.sent(phase="gradients") == [0, 0]


def test_masks_of_dropout_do_not_repeat_from_rank_to_rank_and_are_one_devices():
    x = np.ones((2, 8, 64))
    mg.manual_seed(3)
    whole = mg.dropout(mg.Tensor(x), 0.5).numpy()

    def main(comm):
        mg.manual_seed(3)
        layer = sequence_parallel.SequenceDropout(0.5, sequence_parallel.SequenceRegion(comm))
        return layer(mg.Tensor(x[:, :2])).numpy()

    shares = list(dist.run(main, 4))
    np.testing.assert_array_equal(np.concatenate(shares, 1), whole)
    assert all((a != b).any() for a, b in itertools.pairwise(shares))


s, b, h, a = 16, 3, 32, 4
ALL = s * b * h


def measured(kind, t, kernels):
    """[bytes in the paper's counting] that one block keeps on each rank."""
    model = GPT(GPTConfig(24, s, h, a, 1, dropout=0.1, bias=True), seed=0)
    x = np.random.default_rng(0).normal(size=(b, s, h)).astype(np.float32)

    def main(comm):
        part, own = kind(model, comm), x
        if kind is not tensor_parallel.shard:
            own = np.split(x, comm.size, 1)[comm.rank]
        block = part.blocks[0]
        with mg.use_kernels(kernels):
            y = block(mg.Tensor(own, requires_grad=True))
            return sum(
                paper_bytes(saved.array)
                for saved in saved_activations(y, without=block.parameters())
            )

    return list(dist.run(main, t))


def regathering(model, comm):
    return sequence_parallel.shard(model, comm, regather=True)


SCORES = ("softmax", "dropout of scores: mask", "dropout of scores: output")


@pytest.mark.parametrize("t", [1, 2, 4])
def test_a_block_keeps_what_the_paper_says_but_for_what_is_told(t):
    """With kernels: no scores, but log-sum-exps (a·s·b) and each norm's statistics (2·s·b)."""
    for kind, sequence in ((tensor_parallel.shard, False), (regathering, True)):
        terms = block_activations(s, b, h, a, t, sequence)
        formula = sum(value for name, value in terms.items() if name not in SCORES)
        statistics = 2 * a * s * b / t + 2 * 2 * (2 * s * b) / (t if sequence else 1)
        assert measured(kind, t, kernels=True) == [formula + statistics] * t
    without = block_activations(s, b, h, a, t, True)
    kept = sum(value for name, value in without.items() if name not in SCORES)
    kept += 2 * a * s * b / t + 2 * 2 * (2 * s * b) / t
    kept += 2 * 2 * ALL * (1 - 1 / t)  # two gathered inputs of products, whole
    assert measured(sequence_parallel.shard, t, kernels=True) == [kept] * t


@pytest.mark.parametrize("t", [1, 2, 4])
def test_the_specification_keeps_the_scores_and_both_stages_of_a_norm(t):
    for kind, cut in ((tensor_parallel.shard, 1), (sequence_parallel.shard, t)):
        formula = sum(block_activations(s, b, h, a, t, cut == t).values())
        formula -= 3 * a * s * s * b / t  # there is no dropout of scores
        formula += 2 * (2 * ALL + 2 * s * b) / cut  # each norm's output before weights; deviations
        formula += s * s  # the causal mask
        if kind is sequence_parallel.shard:
            formula += 2 * 2 * ALL * (1 - 1 / t)  # two gathered inputs, whole
        assert measured(kind, t, kernels=False) == [formula] * t


def test_the_terms_add_up_to_the_formulas_of_the_paper():
    for t in (1, 2, 4):
        tensor = s * b * h * (10 + 24 / t + 5 * a * s / (h * t))
        assert sum(block_activations(s, b, h, a, t).values()) == tensor
        sequence = s * b * h * (34 + 5 * a * s / h) / t
        assert sum(block_activations(s, b, h, a, t, sequence=True).values()) == sequence


def test_what_cannot_be_cut_is_refused():
    def forward(comm, length=L, **options):
        return sequence_parallel.shard(model_of(), comm)(ids_of()[0][:, :length], **options)

    with pytest.raises(ValueError, match="7 tokens of a sequence do not divide among 2 ranks"):
        dist.run(functools.partial(forward, length=7), 2)
    with pytest.raises(ValueError, match=r"decode with tensor_parallel\.shard"):
        dist.run(functools.partial(forward, last=True), 2)
    with pytest.raises(TypeError, match="Linear is no GPT and no Llama"):
        dist.run(lambda comm: sequence_parallel.shard(mg.nn.Linear(2, 2), comm), 2)


def test_a_padded_batch_gives_the_same_logits():
    ids, mask = ids_of()[0], np.ones((B, L), bool)
    mask[1, :5] = False
    want = model_of()(ids, mask=mask).numpy()
    run = dist.run(lambda comm: sequence_parallel.shard(model_of(), comm)(ids, mask=mask), 2)
    got = np.concatenate([part.numpy() for part in run], -1)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(got[1, 5:], want[1, 5:], rtol=1e-11, atol=1e-13)
