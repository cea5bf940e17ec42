"""Copies of a model, each with a share of the batch, train as one model does with all of it."""

import functools

import numpy as np

from distributed_cases import HOME, Case, values
from minigrad.distributed.data_parallel import DataParallel, local_batch
from minigrad.models import GPT, GPTConfig
from minigrad.optim import AdamW, clip_grad_norm
from minigrad.training import next_token_loss

STEPS, BATCH, LENGTH, VOCABULARY = 5, 12, 7, 13
DRAWN = np.random.default_rng(5).integers(VOCABULARY, size=(STEPS, BATCH, LENGTH + 1))
LR, MAX_NORM = 1e-2, 0.55  # the gradients' norms lie on both sides of this


def built(tie_weights=False, seed=4):
    """A GPT, the same at each call, in float64: 3,924 parameters, or 3,768 with tied weights."""
    config = GPTConfig(VOCABULARY, LENGTH + 1, 12, 3, 2, tie_weights=tie_weights)
    return GPT(config, seed).astype("float64")


def freeze(model):
    """Freeze a piece of a block and all of what stands in none."""
    for part in (model.position_embedding, model.blocks[1].attention):
        for p in part.parameters():
            p.requires_grad_(False)


def trainable(model):
    return [p for p in model.parameters() if p.requires_grad]


@functools.cache
def reference(tie_weights=False, clip=False, frozen=False):
    """(losses, norms, parameters) of one device."""
    model = built(tie_weights).to(HOME)
    if frozen:
        freeze(model)
    optimizer, losses, norms = AdamW(trainable(model), lr=LR), [], []
    for ids in DRAWN:
        optimizer.zero_grad()
        loss = next_token_loss(model, ids[:, :-1], ids[:, 1:])
        loss.backward()
        if clip:
            norms.append(clip_grad_norm(model.parameters(), MAX_NORM))
        optimizer.step()
        losses.append(loss.item())
    return losses, norms, values(model)


def micro_batches(comm, ids, count, shares=None):
    """(x, y, options of backward) of this rank's share, in ``count`` parts. ``shares``: the ranks'
    numbers of rows, where they differ."""
    if shares is None:
        parts, weight = np.split(local_batch(ids, comm), count), None
    else:
        weight = shares[comm.rank]
        parts = np.split(np.split(ids, np.cumsum(shares)[:-1])[comm.rank], count)
    return [
        (part[:, :-1], part[:, 1:], {"reduce": part is parts[-1], "weight": weight})
        for part in parts
    ]


def mean_loss(comm, total, shares):
    """The loss of the whole batch, of the ranks' losses of their shares."""
    part = 1 / comm.size if shares is None else shares[comm.rank] / sum(shares)
    return float(comm.all_reduce(total * part))


def train(comm, micro=1, shares=None, tie_weights=False, clip=False, frozen=False, **options):
    """(losses, norms, parameters) of one rank; only rank 0 begins with the reference's model."""
    model = built(tie_weights, seed=4 + comm.rank).to(HOME)
    if frozen:
        freeze(model)
    parallel = DataParallel(model, comm, **options)
    optimizer, losses, norms = AdamW(trainable(model), lr=LR), [], []
    for ids in DRAWN:
        optimizer.zero_grad()
        total = 0.0
        for x, y, how in micro_batches(comm, ids, micro, shares):
            loss = next_token_loss(parallel, x, y) / micro
            parallel.backward(loss, **how)
            total += loss.data
        if clip:
            norms.append(clip_grad_norm(model.parameters(), MAX_NORM))
        optimizer.step()
        losses.append(mean_loss(comm, total, shares))
    return losses, norms, model.state_dict()


def check(results, **given):
    """Losses and parameters are those of one device, on every rank."""
    losses, norms, parameters = reference(**given)
    for found, found_norms, state in results:
        np.testing.assert_allclose(found, losses, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found_norms, norms, rtol=0, atol=1e-12)
        assert list(state) == list(parameters)
        for name, value in parameters.items():
            np.testing.assert_allclose(state[name], value, rtol=0, atol=1e-12, err_msg=name)


def case(size, tie_weights=False, clip=False, frozen=False, train=train, **options):
    given = dict(tie_weights=tie_weights, clip=clip, frozen=frozen)
    return Case(
        functools.partial(train, **given, **options), size, functools.partial(check, **given)
    )


CASES = {
    "one rank": case(1),
    "two ranks, many small buckets": case(2, bucket_bytes=3000),
    "three ranks, two micro-batches, tied weights": case(3, micro=2, tie_weights=True),
    "four ranks, clipped": case(4, clip=True, bucket_bytes=10_000),
    "four ranks, three micro-batches, no overlap": case(4, micro=3, overlap=False),
    "four ranks, a bucket a parameter": case(4, bucket_bytes=1),
    "two ranks, some parameters frozen": case(2, frozen=True, clip=True),
    "three ranks, uneven shares": case(3, shares=(3, 8, 1)),
    "four ranks, uneven shares in two micro-batches": case(4, micro=2, shares=(2, 6, 2, 2)),
}
