"""Copies of a model, each with a share of the batch, train as one model does with all of it."""

import functools

import numpy as np

from distributed_cases import Case
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


@functools.cache
def reference(tie_weights=False, clip=False):
    """(losses, norms, parameters) of one device."""
    model = built(tie_weights)
    optimizer, losses, norms = AdamW(model.parameters(), lr=LR), [], []
    for ids in DRAWN:
        optimizer.zero_grad()
        loss = next_token_loss(model, ids[:, :-1], ids[:, 1:])
        loss.backward()
        if clip:
            norms.append(clip_grad_norm(model.parameters(), MAX_NORM))
        optimizer.step()
        losses.append(loss.item())
    return losses, norms, model.state_dict()


def micro_batches(comm, ids, count):
    """(x, y, whether it is the last) of this rank's share, in ``count`` parts."""
    parts = np.split(local_batch(ids, comm), count)
    return [(part[:, :-1], part[:, 1:], part is parts[-1]) for part in parts]


def train(comm, micro=1, tie_weights=False, clip=False, **options):
    """(losses, norms, parameters) of one rank; only rank 0 begins with the reference's model."""
    model = built(tie_weights, seed=4 + comm.rank)
    parallel = DataParallel(model, comm, **options)
    optimizer, losses, norms = AdamW(model.parameters(), lr=LR), [], []
    for ids in DRAWN:
        optimizer.zero_grad()
        total = 0.0
        for x, y, last in micro_batches(comm, ids, micro):
            loss = next_token_loss(parallel, x, y) / micro
            parallel.backward(loss, reduce=last)
            total += loss.data
        if clip:
            norms.append(clip_grad_norm(model.parameters(), MAX_NORM))
        optimizer.step()
        losses.append(float(comm.all_reduce(total, "mean")))
    return losses, norms, model.state_dict()


def check(results, tie_weights=False, clip=False):
    """Losses and parameters are those of one device, on every rank."""
    losses, norms, parameters = reference(tie_weights, clip)
    for found, found_norms, state in results:
        np.testing.assert_allclose(found, losses, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found_norms, norms, rtol=0, atol=1e-12)
        assert list(state) == list(parameters)
        for name, value in parameters.items():
            np.testing.assert_allclose(state[name], value, rtol=0, atol=1e-12, err_msg=name)


def case(size, micro=1, tie_weights=False, clip=False, **options):
    given = dict(tie_weights=tie_weights, clip=clip)
    return Case(
        functools.partial(train, micro=micro, **given, **options),
        size,
        functools.partial(check, **given),
    )


CASES = {
    "one rank": case(1),
    "two ranks, many small buckets": case(2, bucket_bytes=3000),
    "three ranks, two micro-batches, tied weights": case(3, micro=2, tie_weights=True),
    "four ranks, clipped": case(4, clip=True, bucket_bytes=10_000),
    "four ranks, three micro-batches, no overlap": case(4, micro=3, overlap=False),
    "four ranks, a bucket a parameter": case(4, bucket_bytes=1),
}
