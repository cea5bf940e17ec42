"""Sequence parallelism of Megatron (Korthikanti et al. 2022): between the pairs of products of
tensor parallelism, every rank keeps L/P positions instead of a copy of all.

An AllReduce is a ReduceScatter and an AllGather. Tensor parallelism does both at once, and norms,
dropout and residuals between the pairs are computed P times over. Here they stand between the two:

    g   where x enters a pair: AllGather along the sequence forward, ReduceScatter backward
    ḡ   where y leaves a pair: ReduceScatter forward, AllGather backward

The same bytes travel, and what norms and dropout save for backward is cut by P.

Parameters that are not cut (norms, positions, biases added behind ḡ) see a rank's own positions
alone, so their gradients are partial sums: ``all_reduce_gradients`` adds them up, before the
optimizer's step.

Dropout must not repeat itself from share to share, as it would if ranks with the same random state
drew for their own positions. Ranks here draw the mask of all positions and keep their share: the
masks of a single device, for P times the draws. (Megatron seeds each rank's draws differently.)
"""

import numpy as np

import minigrad as mg
from minigrad import backend, engine, nn
from minigrad.distributed import gradients, tensor_parallel
from minigrad.engine import primitive
from minigrad.models import GPT, Llama


class SequenceRegion(tensor_parallel.Region):
    """g and ḡ around a pair of products; x (B, L/P, D) outside, slices of (B, L, …) inside.

    With ``regather`` backward gathers x once more instead of keeping all of it, as Megatron does:
    one more AllGather a pair, and no saved array that is not cut.
    """

    def __init__(self, comm, regather=False):
        self.comm, self.regather = comm, regather

    def products(self, x, *layers):
        if not self.regather:
            x = self.comm.all_gather(x, axis=1)  # g: (B, L/P, D) -> (B, L, D)
            return [mg.linear(x, weight, bias) for weight, bias in layers]
        y = gathered_product(x, *(weight for weight, _ in layers), comm=self.comm)
        ends = np.cumsum([weight.shape[1] for weight, _ in layers])[:-1]
        parts = mg.split(y, ends.tolist(), axis=-1)
        return [part if b is None else part + b for part, (_, b) in zip(parts, layers)]

    def leave(self, y):
        self.positions(y.shape[1])
        return self.comm.reduce_scatter(y, axis=1)  # ḡ: (B, L, D) -> (B, L/P, D)

    def positions(self, length):
        """The slice of a sequence that is this rank's."""
        width = tensor_parallel.per_rank(length, self.comm, "tokens of a sequence")
        return slice(self.comm.rank * width, (self.comm.rank + 1) * width)


@primitive
def gathered_product(*arrays, comm):
    """x (B, L/P, D) and W_i (D, N_i) -> (B, L, Σ N_i): all ranks' x times the W_i, of which x's own
    share is what backward finds."""
    x, *weights = arrays
    return mg.matmul(comm.all_gather(x, axis=1), np.concatenate(weights, axis=1))


def _gathered_product_back(g, arrays, needs, comm):
    x, *weights = arrays
    found = [None] * len(arrays)
    if needs[0]:
        whole = mg.concatenate(weights, axis=1)  # (D, Σ N_i)
        found[0] = comm.reduce_scatter(mg.matmul(g, whole.T), axis=1)
    if any(needs[1:]):
        x = comm.all_gather(x, axis=1)
        ends = np.cumsum([weight.shape[1] for weight in weights])[:-1]
        grads = mg.einsum("bld,bln->dn", x, g)
        found[1:] = mg.split(grads, ends.tolist(), axis=1)
    return found


gathered_product.vjp_all(_gathered_product_back)


class SequenceDropout(nn.Dropout):
    """Dropout of a rank's positions (B, L/P, D), with its share of the mask of all."""

    def __init__(self, p, region):
        self.p, self.region = p, region

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        B, width, D = x.shape
        length = width * self.region.comm.size
        mask = backend.random_mask((B, length, D), 1 - self.p, engine.plain(x))
        mask = mask[:, self.region.positions(length)].copy()  # the whole is not to be kept
        return x * mask * (1 / (1 - self.p))


class _Shared:
    """What both models do: ids (B, L) whole on every rank, the residual stream cut."""

    def forward(self, ids, cache=None, positions=None, mask=None, last=False):
        if cache is not None or last:
            raise ValueError(
                f"{type(self).__name__}: one token cannot be cut along the sequence; decode with "
                "tensor_parallel.shard"
            )
        return super().forward(ids, None, positions, mask)

    def whole(self, x, positions):
        """(L, the positions of all L) for a share x (B, L/P, D)."""
        length = x.shape[1] * self.region.comm.size
        if positions is None:
            positions = backend.beside(np.arange(length), engine.plain(x))
        return length, positions


class SequenceGPT(_Shared, GPT):
    """A GPT whose residual stream is cut along the sequence: ids (B, L) -> logits (B, L, V/P)."""

    def placed(self, x, positions, past):
        length, positions = self.whole(x, positions)
        return super().placed(x, positions[..., self.region.positions(length)], past)


class SequenceLlama(_Shared, Llama):
    """A Llama whose residual stream is cut along the sequence: ids (B, L) -> logits (B, L, V/P)."""

    def placed(self, x, positions, past):
        # Queries and keys are turned inside of attention, where all positions are.
        return super().placed(x, self.whole(x, positions)[1], past)


def shard(model, comm, regather=False):
    """This rank's share of a GPT or a Llama, as ``tensor_parallel.shard``, with sequences cut
    between the products. L must be divisible by P. ``regather``: see SequenceRegion."""
    kinds = {GPT: SequenceGPT, Llama: SequenceLlama}
    if type(model) not in kinds:
        raise TypeError(f"sequence parallelism: {type(model).__name__} is no GPT and no Llama")
    region = SequenceRegion(comm, regather)
    part = tensor_parallel._share_out(model, region, kinds[type(model)])
    part.region = region
    for _, module in part.named_modules():
        if isinstance(vars(module).get("dropout"), nn.Dropout):
            module.dropout = SequenceDropout(module.dropout.p, region)
    return part.train(model.training)


def all_reduce_gradients(part, comm):
    """Add up the gradients of the parameters that are not cut: one AllReduce a dtype.

    Call it once between backward (the last, where a step has several) and the optimizer's step: a
    second call would add up sums.
    """
    shared = (
        parameter
        for _, owner, attribute, parameter in part.places()
        if tensor_parallel.cut_axis(owner, attribute) is None
    )
    gradients.all_reduce_gradients(shared, comm)
