"""A model whose states are shared out among ranks trains as one that has them all."""

import functools

from distributed_cases import HOME
from distributed_cases.data_parallel import (
    DRAWN,
    LR,
    MAX_NORM,
    built,
    case,
    freeze,
    mean_loss,
    micro_batches,
)
from minigrad.distributed.zero import ZeRO
from minigrad.optim import AdamW
from minigrad.training import next_token_loss


def train(
    comm, stage, micro=1, shares=None, tie_weights=False, clip=False, frozen=False, **options
):
    """(losses, norms, parameters) of one rank; only rank 0 begins with the reference's model."""
    model = built(tie_weights, seed=4 + comm.rank).to(HOME)
    if frozen:
        freeze(model)
    zero = ZeRO(model, comm, stage, functools.partial(AdamW, lr=LR), **options)
    losses, norms = [], []
    for ids in DRAWN:
        total = 0.0
        for x, y, how in micro_batches(comm, ids, micro, shares):
            loss = next_token_loss(zero, x, y) / micro
            zero.backward(loss, **how)
            total += loss.data
        if clip:
            norms.append(zero.clip_grad_norm(MAX_NORM))
        zero.step()
        zero.zero_grad()
        losses.append(mean_loss(comm, total, shares))
    return losses, norms, zero.state_dict()


def of(stage, size, **options):
    return case(size, train=train, stage=stage, **options)


CASES = {
    **{f"stage {stage}, one rank": of(stage, 1) for stage in range(4)},
    **{f"stage {stage}, two ranks, clipped": of(stage, 2, clip=True) for stage in range(4)},
    **{
        f"stage {stage}, three ranks, two micro-batches, tied": of(
            stage, 3, micro=2, tie_weights=True
        )
        for stage in range(4)
    },
    **{f"stage {stage}, four ranks": of(stage, 4) for stage in range(4)},
    **{
        f"stage {stage}, two ranks, uneven, frozen parts": of(stage, 2, shares=(8, 4), frozen=True)
        for stage in range(4)
    },
    "stage 3, four ranks, clipped, nothing fetched ahead": of(3, 4, clip=True, prefetch=False),
}
