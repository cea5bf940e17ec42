"""Context parallelism: a sequence too long for one device, L/P positions of it on each rank.

Norms, MLPs and the head work on each position by itself, and so need nothing of other ranks;
attention is Ulysses' or the ring's. Two more things must be right: a rank tells the model which
positions its tokens have, and every token counts alike in the loss. So a rank adds up the losses of
its own targets and divides by how many count in the whole: the loss of the whole is the sum of the
ranks' losses, and its gradients are the sum of the ranks' own, an AllReduce as in data parallelism.
"""

import math
from functools import partial

import numpy as np

from minigrad import backend, nn
from minigrad.distributed.gradients import all_reduce_gradients
from minigrad.distributed.ring_attention import ring_attention
from minigrad.distributed.shards import IGNORED, LAYOUTS, positions, shard
from minigrad.distributed.ulysses import ulysses_attention
from minigrad.engine import plain
from minigrad.nn.layers import one_of
from minigrad.ops import cross_entropy


def attend_across(q, k, v, mask, *, comm, causal, kind, layout):
    """Attention of this rank's positions to those of all ranks: what a MultiHeadAttention does in
    place of its own ``attend``."""
    if mask is not None:
        raise ValueError(
            f"context_parallel: rank {comm.rank} was given a mask; only causal ones are computed "
            "here"
        )
    if kind == "ulysses":
        return ulysses_attention(q, k, v, comm, causal)
    return ring_attention(q, k, v, comm, causal, layout=layout)


def context_parallel(model, comm, kind="ring", layout="contiguous"):
    """Let each MultiHeadAttention of a model attend across ranks; returns the model.

    Arguments: kind, "ring" or "ulysses"; layout, of ``shards``: Ulysses takes "contiguous" alone.
    Dropout, which each rank draws for itself, and latent attention are refused. Raises ValueError.
    """
    one_of("context_parallel", "kind", kind, ("ring", "ulysses"))
    one_of("context_parallel", "layout", layout, LAYOUTS)
    if kind == "ulysses" and layout != "contiguous":
        raise ValueError(
            f"context_parallel: layout {layout!r} is for kind 'ring'; with 'ulysses' every rank "
            "sees whole sequences, and work is equal already"
        )
    modules = model.named_modules()
    for name, module in modules:
        if isinstance(module, nn.Dropout) and module.p:
            raise ValueError(f"context_parallel: {name} drops with p = {module.p}; expected 0")
        if isinstance(module, nn.MultiHeadLatentAttention):
            raise ValueError(f"context_parallel: {name} is a MultiHeadLatentAttention, which stays")
        if isinstance(module, nn.MultiHeadAttention):
            options = dict(comm=comm, causal=module.causal, kind=kind, layout=layout)
            module.attend = partial(attend_across, **options)
    if not any(isinstance(module, nn.MultiHeadAttention) for _, module in modules):
        raise ValueError(f"context_parallel: {type(model).__name__} has no MultiHeadAttention")
    return model


def shard_loss(model, x, y, comm, layout="contiguous"):
    """This rank's share of the mean loss, a Tensor, of whole ids x (B, L) and targets y (B, L).

    The shares of all ranks add up to ``cross_entropy`` of the whole, in which targets of -100 do
    not count. Half precision is added up in float32. Raises ValueError for targets of another
    shape, and for lengths that do not divide.
    """
    if np.shape(x) != np.shape(y):
        raise ValueError(
            f"context_parallel: rank {comm.rank} was given targets {np.shape(y)} for ids "
            f"{np.shape(x)}; expected as many"
        )
    places = positions(x.shape[1], comm.rank, comm.size, layout)  # (L/P,)
    logits = model(shard(x, comm, layout), positions=places)  # (B, L/P) -> (B, L/P, V)
    logits = logits.astype(np.float32) if logits.dtype in backend.HALF else logits
    own = backend.to_device(shard(y, comm, layout), logits.device)
    counted = int((plain(y) != IGNORED).sum()) or math.nan  # of none there is no mean
    return cross_entropy(logits, own, reduction="sum") / counted


def training_step(model, optimizer, x, y, comm, layout="contiguous"):
    """One step on ids x (B, L) and targets y (B, L); the loss of the whole, a float."""
    optimizer.zero_grad()
    loss = shard_loss(model, x, y, comm, layout)
    with comm.phase("backward"):
        loss.backward()
    with comm.phase("gradients"):
        all_reduce_gradients(optimizer.parameters, comm)
    optimizer.step()
    return comm.all_reduce(loss.data).item()
