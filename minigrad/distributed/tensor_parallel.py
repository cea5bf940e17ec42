"""Tensor parallelism: every rank holds a slice of every large matrix (Shoeybi et al. 2019).

A pair of products Y = φ(X A) B is cut in the middle: rank r holds some columns A_r and the same
rows B_r, so that Y = Σ_r φ(X A_r) B_r needs one sum, and φ no communication. In attention the
columns are whole heads; embedding and head are cut by words of the vocabulary.

Between pairs all ranks hold the same X. ``f`` stands where X enters a pair: the identity, whose
backward adds up what the ranks say of X. ``g`` stands where the partial Y leave it: an AllReduce,
whose backward is the identity. So a step takes two AllReduces a block forward and two backward, of
b·s·h numbers each, and one more each way for embedding and head.

Parameters that are not cut (norms, positions, biases added behind g) need no communication: f has
already added up what comes back to them, and g hands the whole gradient to every rank, so each rank
finds the whole gradient, bit for bit the others', and the copies stay equal. Dropout acts between
pairs, too. Ranks begin with the same random state and draw the same, so their masks are those of a
single device.
"""

from dataclasses import replace

import numpy as np

import minigrad as mg
from minigrad import backend, engine, nn
from minigrad.distributed.ops import all_reduce_then_identity, identity_then_all_reduce
from minigrad.distributed.tensor_decoding import HeadCache, greedy  # noqa: F401 (called from here)
from minigrad.models import Decoder


class Region:
    """The stretch of a model in which ranks hold different slices: how x enters, how y leaves."""

    def __init__(self, comm):
        self.comm = comm

    def products(self, x, *layers):
        """x @ W_r + b_r for several (W_r, b_r or None), x (B, L, D) alike on all ranks: f, once."""
        x = identity_then_all_reduce(x, comm=self.comm)
        return [mg.linear(x, weight, bias) for weight, bias in layers]

    def leave(self, y):
        """The sum of all ranks' y: g."""
        return all_reduce_then_identity(y, comm=self.comm)

    def share(self, parameter, axis, what):
        """This rank's slice of a parameter. Raises ValueError where P does not divide the axis."""
        width, first = per_rank(parameter.shape[axis], self.comm, what), self.comm.rank
        own = (slice(None),) * axis + (slice(first * width, (first + 1) * width),)
        return _like(parameter, parameter.data[own])


def _like(parameter, data):
    """A Parameter of this data, frozen if that one is."""
    return nn.Parameter(data, parameter.dtype).requires_grad_(parameter.requires_grad)


def per_rank(n, comm, what):
    """n / P. Raises ValueError where that is not an integer."""
    if n % comm.size:
        raise ValueError(
            f"tensor parallelism: {n} {what} do not divide among {comm.size} ranks (said by rank "
            f"{comm.rank})"
        )
    return n // comm.size


class ColumnLinear(nn.Linear):
    """This rank's columns of a layer: x (…, D), alike on all ranks -> f -> (…, N/P)."""

    def __init__(self, whole, region):
        self.region = region
        self.weight = region.share(whole.weight, 1, "columns")
        self.bias = None if whole.bias is None else region.share(whole.bias, 0, "columns")

    def forward(self, x):
        return self.region.products(x, (self.weight, self.bias))[0]


class RowLinear(nn.Linear):
    """This rank's rows of a layer: its slice of x (…, K/P) -> g -> (…, N), alike on all ranks.

    The bias is added behind the sum, once.
    """

    def __init__(self, whole, region):
        self.region = region
        self.weight = region.share(whole.weight, 0, "rows")
        self.bias = None if whole.bias is None else _like(whole.bias, whole.bias.data)

    def forward(self, x):
        y = self.region.leave(mg.linear(x, self.weight))
        return y if self.bias is None else y + self.bias


class Attention(nn.MultiHeadAttention):
    """This rank's n_h/P heads of an attention; x (B, L, D) and the result are alike on all ranks.

    Heads need nothing of each other until W_O adds them up, so each rank has whole ones: columns of
    W_Q, W_K, W_V and the rows of W_O that read them.
    """

    def __init__(self, whole, region):
        if not isinstance(whole, nn.MultiHeadAttention):
            raise TypeError(
                f"tensor parallelism: {type(whole).__name__} is not cut by heads here; expected a "
                "MultiHeadAttention"
            )
        if "attend" in vars(whole):
            raise ValueError(
                "tensor parallelism: this attention attends across ranks already, which its share "
                "would not; shard it first, then call context_parallel"
            )
        self.region = region
        self.n_heads = per_rank(whole.n_heads, region.comm, "heads of queries")
        self.n_kv_heads = per_rank(whole.n_kv_heads, region.comm, "heads of keys and values")
        self.d_head, self.causal = whole.d_head, whole.causal
        self.query = ColumnLinear(whole.query, region)
        self.key = ColumnLinear(whole.key, region)
        self.value = ColumnLinear(whole.value, region)
        self.output = RowLinear(whole.output, region)
        self.dropout = nn.Dropout(whole.dropout.p)

    def projections(self, x):
        layers = self.query, self.key, self.value
        return self.region.products(x, *((layer.weight, layer.bias) for layer in layers))


class MLP(nn.MLP):
    """This rank's hidden units of an MLP: columns of ``up``, the same rows of ``down``."""

    def __init__(self, whole, region):
        self.activation = whole.activation
        self.up = ColumnLinear(whole.up, region)
        self.down = RowLinear(whole.down, region)
        self.dropout = nn.Dropout(whole.dropout.p)


class SwiGLU(nn.SwiGLU):
    """This rank's hidden units of a gated MLP."""

    def __init__(self, whole, region):
        self.region = region
        self.gate = ColumnLinear(whole.gate, region)
        self.up = ColumnLinear(whole.up, region)
        self.down = RowLinear(whole.down, region)

    def forward(self, x):
        layers = ((layer.weight, layer.bias) for layer in (self.gate, self.up))
        return self.down(mg.swiglu(*self.region.products(x, *layers)))


class VocabularyEmbedding(nn.Module):
    """Rows of this rank's V/P words: ids (B, L) -> (B, L, D), a zero for others' words -> g."""

    def __init__(self, whole, region):
        self.region = region
        self.weight = region.share(whole.weight, 0, "words")

    def forward(self, ids):
        index, inside = own_words(ids, self.weight.shape[0], self.region.comm)
        rows = mg.embedding(self.weight, index) * inside[..., None]  # (B, L) -> (B, L, D)
        return self.region.leave(rows)


class TiedHead(nn.Module):
    """The head whose columns are the rows of the embedding: (B, L, D) -> (B, L, V/P)."""

    def __init__(self, embedding, region):
        self.embedding, self.region = embedding, region

    def forward(self, x):
        return self.region.products(x, (self.embedding.weight.T, None))[0]


def own_words(ids, width, comm):
    """(ids counted from this rank's first word, 0 for others'; which are this rank's), both (B, L).

    Rank r has words r·width to (r + 1)·width − 1. Raises IndexError for words that nobody has.
    """
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < width * comm.size:
        raise IndexError(
            f"words run from {ids.min()} to {ids.max()}; expected 0 to {width * comm.size - 1}, "
            f"{width} on each of {comm.size} ranks"
        )
    index = ids - comm.rank * width
    inside = (index >= 0) & (index < width)
    return backend.where(inside, index, 0), inside


def cross_entropy(logits, targets, comm, ignore_index=-100):
    """The mean cross-entropy of logits whose last axis is cut; the same number on every rank.

    logits (B, L, V/P), rank r's words being r·V/P and on; targets (B, L), integers in [0, V), those
    equal to ``ignore_index`` not counted. The logits are never gathered: two small AllReduces, of
    the largest logit (B, L), and of the sum of exponentials and the target's logit (2, B, L).
    Backward needs none: g gives each rank the gradient softmax_r − onehot_r of its own logits.
    Raises IndexError for targets outside of the vocabulary, ValueError for other shapes.
    """
    targets = backend.beside(engine.plain(targets), engine.plain(logits))
    if targets.shape != logits.shape[:-1] or targets.dtype.kind not in "iu":
        raise ValueError(
            f"cross_entropy on rank {comm.rank}: targets {targets.dtype} {targets.shape}; expected "
            f"integers {logits.shape[:-1]} for logits {logits.shape}"
        )
    logits = logits.astype(np.float32) if logits.dtype in backend.HALF else logits
    counted = targets != ignore_index
    index, inside = own_words(backend.where(counted, targets, 0), logits.shape[-1], comm)
    top = comm.all_reduce(engine.plain(logits).max(axis=-1), op="max")  # (B, L)
    shifted = logits - top[..., None]  # (B, L, V/P)
    chosen = mg.take_along_axis(shifted, index[..., None], axis=-1)[..., 0] * inside  # (B, L)
    partial = mg.stack([mg.exp(shifted).sum(axis=-1), chosen])  # (2, B, L)
    total, chosen = all_reduce_then_identity(partial, comm=comm)
    return ((mg.log(total) - chosen) * counted).sum() / float(counted.sum())


def shard(model, comm):
    """This rank's share of a GPT or a Llama that all ranks have alike (``seed=``, or loaded).

    It is called as the model is: ids (B, L), alike on all ranks, give logits (B, L, V/P) of this
    rank's words, for ``cross_entropy``. The model itself stays as it is; when nobody keeps it, only
    the share is left in memory. What is frozen stays so. Raises ValueError where P does not divide
    heads, hidden units or vocabulary (pad it), and for attention that ``context_parallel`` has
    changed; TypeError for models that are not cut here.
    """
    return _share_out(model, Region(comm), type(model))


def _share_out(model, region, kind):
    """A ``kind`` of the model's configuration, with this rank's share of its weights."""
    if not isinstance(model, Decoder):
        raise TypeError(f"tensor parallelism: {type(model).__name__} is no GPT and no Llama")
    with nn.init.skipped():
        # A tied head is a layer, too: f stands in front of it.
        part = kind(replace(model.config, tie_weights=False))
    part.token_embedding = VocabularyEmbedding(model.token_embedding, region)
    if model.config.tie_weights:
        part.head = TiedHead(part.token_embedding, region)
    else:
        part.head = ColumnLinear(model.head, region)
    for mine, whole in zip(part.blocks, model.blocks, strict=True):
        mine.attention = Attention(whole.attention, region)
        mine.mlp = _hidden_units(whole.mlp, region)
    whole = dict(model.named_parameters())
    for name, owner, attribute, _ in part.places():
        if cut_axis(owner, attribute) is None and name in whole:
            setattr(owner, attribute, _like(whole[name], whole[name].data))
    return part.train(model.training)


def _hidden_units(whole, region):
    for kind, part in ((nn.MLP, MLP), (nn.SwiGLU, SwiGLU)):
        if isinstance(whole, kind):
            return part(whole, region)
    raise TypeError(
        f"tensor parallelism: {type(whole).__name__} is not cut by hidden units here; expected an "
        "MLP or a SwiGLU"
    )


def cut_axis(owner, attribute):
    """The axis along which a module's parameter is cut; None where all ranks have all of it."""
    if isinstance(owner, ColumnLinear):
        return {"weight": 1, "bias": 0}[attribute]
    if isinstance(owner, (RowLinear, VocabularyEmbedding)) and attribute == "weight":
        return 0
    return None


def gather_state(part, comm):
    """The ``state_dict`` of the whole model, on every rank: ``shard`` undone."""
    state, seen = {}, set()
    for name, owner, attribute, parameter in part.places():
        if id(parameter) in seen:
            continue
        seen.add(id(parameter))
        axis = cut_axis(owner, attribute)
        array = parameter.data
        state[name] = array.copy() if axis is None else comm.all_gather(array, axis)
    return state
