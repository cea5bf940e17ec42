"""A model that is cut into stages trains and writes as it does on one device."""

import functools
from functools import partial

import numpy as np

from distributed_cases import HOME, Case, values
from minigrad.distributed import schedules
from minigrad.distributed.gpt_parts import cut
from minigrad.distributed.pipeline import Pipeline, generate
from minigrad.models import GPT, GPTConfig
from minigrad.optim import AdamW
from minigrad.training import next_token_loss

STEPS, BATCH, LENGTH, VOCABULARY = 5, 8, 6, 11
DRAWN = np.random.default_rng(3).integers(VOCABULARY, size=(STEPS, BATCH, LENGTH + 1))


def built(layers=8, **changes):
    """A GPT, the same at each call, in float64."""
    config = GPTConfig(VOCABULARY, LENGTH + 1, 12, 3, layers, **changes)
    return GPT(config, seed=1).astype("float64")


@functools.cache
def reference(layers, tie_weights):
    """(losses, parameters) of one device."""
    model = built(layers, tie_weights=tie_weights, bias=True).to(HOME)
    optimizer, losses = AdamW(model.parameters(), lr=1e-2), []
    for ids in DRAWN:
        optimizer.zero_grad()
        loss = next_token_loss(model, ids[:, :-1], ids[:, 1:])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, values(model)


def train(comm, name, arguments, layers=8, tie_weights=False):
    """(losses, parameters of the whole model, names of this stage's parameters)."""
    schedule = getattr(schedules, name)(comm.size, *arguments)
    S, _, v = schedules.size(schedule)
    model = built(layers, tie_weights=tie_weights, bias=True).to(HOME)
    pipe = Pipeline(comm, cut(model, S * v), schedule)
    optimizer, losses = AdamW(pipe.parameters(), lr=1e-2), []
    for ids in DRAWN:
        optimizer.zero_grad()
        losses.append(pipe.step(ids[:, :-1], ids[:, 1:]))
        optimizer.step()
    mine = [name for part in pipe.parts for name, _ in part.named_parameters()]
    return losses, pipe.gathered(), mine


def check_training(results, layers=8, tie_weights=False):
    losses, parameters = reference(layers, tie_weights)
    owned = []
    for found, whole, mine in results:
        np.testing.assert_allclose(found, losses, rtol=0, atol=1e-12)
        assert set(whole) == set(parameters)
        for name, array in whole.items():
            np.testing.assert_allclose(array, parameters[name], rtol=0, atol=1e-12, err_msg=name)
        owned += mine
    # Every stage has its own share and no more; only tied weights are in two places.
    twice = [name for name in set(owned) if owned.count(name) > 1]
    assert twice == (["token_embedding.weight"] if tie_weights and len(results) > 1 else [])
    assert set(owned) == set(parameters)


def write(comm, groups, tie_weights=False):
    """Ids (B, L + 4) that the stages write together."""
    model = built(4, tie_weights=tie_weights, bias=True).to(HOME)
    return generate(comm, cut(model, comm.size), DRAWN[0, :6, :3], 4, groups)


def check_writing(results, tie_weights=False):
    model, ids = built(4, tie_weights=tie_weights, bias=True), DRAWN[0, :6, :3]
    for _ in range(4):
        logits = model(ids).numpy()[:, -1:]
        ids = np.concatenate([ids, logits.argmax(-1)], axis=1)
    assert len({tuple(row[3:]) for row in ids}) > 1  # rows differ, and so do tokens
    for found in results:
        np.testing.assert_array_equal(found, ids)


def training(size, name, *arguments, **options):
    return Case(
        partial(train, name=name, arguments=arguments, **options),
        size,
        partial(check_training, **options),
    )


CASES = {
    "GPipe, 1 stage, 4 micro-batches": training(1, "gpipe", 4),
    "GPipe, 2 stages, 8 micro-batches": training(2, "gpipe", 8),
    "GPipe, 4 stages, 2 micro-batches": training(4, "gpipe", 2),
    "1F1B, 2 stages, 1 micro-batch": training(2, "one_f_one_b", 1),
    "1F1B, 3 stages, 4 micro-batches": training(3, "one_f_one_b", 4, layers=3),
    "1F1B, 4 stages, 8 micro-batches": training(4, "one_f_one_b", 8),
    "1F1B, 4 stages, tied weights": training(4, "one_f_one_b", 4, tie_weights=True),
    "interleaved, 2 stages, 4 chunks": training(2, "interleaved", 4, 4),
    "interleaved, 4 stages, 2 chunks, tied weights": training(
        4, "interleaved", 8, 2, tie_weights=True
    ),
    "interleaved, 4 stages, as many micro-batches": training(4, "interleaved", 4, 2),
    "ZB-H1, 1 stage, tied weights": training(1, "zero_bubble", 2, tie_weights=True),
    "ZB-H1, 4 stages, 8 micro-batches": training(4, "zero_bubble", 8),
    "ZB-H1, 3 stages, tied weights": training(3, "zero_bubble", 4, layers=3, tie_weights=True),
    "writing on 1 stage": Case(partial(write, groups=1), 1, check_writing),
    "writing on 4 stages": Case(partial(write, groups=1), 4, check_writing),
    "writing on 2 stages in 3 groups, tied weights": Case(
        partial(write, groups=3, tie_weights=True), 2, partial(check_writing, tie_weights=True)
    ),
    "writing on 4 stages in 6 groups": Case(partial(write, groups=6), 4, check_writing),
}
