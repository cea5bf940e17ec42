"""A model whose states are shared out among ranks trains as one that has them all."""

import functools

import numpy as np

from distributed_cases import Case
from distributed_cases.data_parallel import DRAWN, LR, MAX_NORM, built, check, micro_batches
from minigrad.distributed.zero import ZeRO
from minigrad.optim import AdamW
from minigrad.training import next_token_loss


def train(comm, stage, micro=1, tie_weights=False, clip=False, **options):
    """(losses, norms, parameters) of one rank; only rank 0 begins with the reference's model."""
    model = built(tie_weights, seed=4 + comm.rank)
    zero = ZeRO(model, comm, stage, functools.partial(AdamW, lr=LR), **options)
    losses, norms = [], []
    for ids in DRAWN:
        total = 0.0
        for x, y, last in micro_batches(comm, ids, micro):
            loss = next_token_loss(zero, x, y) / micro
            zero.backward(loss, reduce=last)
            total += loss.data
        if clip:
            norms.append(zero.clip_grad_norm(MAX_NORM))
        zero.step()
        zero.zero_grad()
        losses.append(float(comm.all_reduce(np.asarray(total), "mean")))
    return losses, norms, zero.state_dict()


def case(stage, size, micro=1, tie_weights=False, clip=False, **options):
    given = dict(tie_weights=tie_weights, clip=clip)
    return Case(
        functools.partial(train, stage=stage, micro=micro, **given, **options),
        size,
        functools.partial(check, **given),
    )


CASES = {
    **{f"stage {stage}, one rank": case(stage, 1) for stage in range(4)},
    **{f"stage {stage}, two ranks, clipped": case(stage, 2, clip=True) for stage in range(4)},
    **{
        f"stage {stage}, three ranks, two micro-batches, tied": case(stage, 3, 2, tie_weights=True)
        for stage in range(4)
    },
    **{f"stage {stage}, four ranks": case(stage, 4) for stage in range(4)},
    "stage 3, four ranks, clipped, nothing fetched ahead": case(3, 4, clip=True, prefetch=False),
}
