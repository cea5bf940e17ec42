"""Attention over sequence shards: Ulysses and the ring, as one device computes it."""

import functools
from functools import partial

import numpy as np

import minigrad as mg
from distributed_cases import HOME, Case, values
from minigrad import optim
from minigrad.distributed import context_parallel
from minigrad.distributed.ring_attention import ring_attention
from minigrad.distributed.shards import positions, shard
from minigrad.distributed.ulysses import ulysses_attention
from minigrad.models import GPT, GPTConfig
from minigrad.training import next_token_loss

LENGTH, HEADS = 24, (4, 4)
KINDS = {
    "ulysses": ("ulysses", "contiguous"),
    "ring": ("ring", "contiguous"),
    "zigzag ring": ("ring", "zigzag"),
}


def drawn(length, heads):
    """q, k, v and the gradient of the output, whole: H is 5 for scores, 7 for values."""
    rng = np.random.default_rng(length)
    n_h, n_kv = heads
    sizes = (n_h, 5), (n_kv, 5), (n_kv, 7), (n_h, 7)
    return [2 * rng.normal(size=(2, n, length, H)) for n, H in sizes]


def attention(comm, kind, causal, length=LENGTH, heads=HEADS):
    """[out, dq, dk, dv] of this rank's positions."""
    kind, layout = KINDS[kind]
    q, k, v, g = (shard(x, comm, layout, axis=2) for x in drawn(length, heads))
    q, k, v = (mg.tensor(x, device=HOME, requires_grad=True) for x in (q, k, v))
    if kind == "ulysses":
        y = ulysses_attention(q, k, v, comm, causal)
    else:
        y = ring_attention(q, k, v, comm, causal, layout=layout)
    (y * mg.tensor(g, device=HOME)).sum().backward()
    return [y.numpy(), *(x.grad.numpy() for x in (q, k, v))]


def check_attention(results, kind, causal, length=LENGTH, heads=HEADS):
    q, k, v, g = drawn(length, heads)
    q, k, v = (mg.tensor(x, requires_grad=True) for x in (q, k, v))
    y = mg.scaled_dot_product_attention(q, k, v, causal=causal)
    (y * g).sum().backward()
    whole = [y.numpy(), *(x.grad.numpy() for x in (q, k, v))]
    for rank, found in enumerate(results):
        places = positions(length, rank, len(results), KINDS[kind][1])
        for name, part, want in zip(("out", "dq", "dk", "dv"), found, whole):
            np.testing.assert_allclose(part, want[:, :, places], rtol=0, atol=1e-12, err_msg=name)


STEPS, BATCH, VOCABULARY = 5, 3, 11
TOKENS = np.random.default_rng(6).integers(VOCABULARY, size=(STEPS, BATCH, LENGTH + 1))
TARGETS = TOKENS[..., 1:].copy()
TARGETS[1, 0, 3:7] = TARGETS[2, :, :13] = TARGETS[3, :, 18:] = -100  # ranks with few, and with none


def built():
    """A GPT with learned positions, the same at each call, in float64."""
    return GPT(GPTConfig(VOCABULARY, LENGTH, 16, 4, 2, bias=True), seed=0).astype("float64")


@functools.cache
def reference():
    """(losses, parameters) of one device."""
    model = built().to(HOME)
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for ids, targets in zip(TOKENS[..., :-1], TARGETS):
        optimizer.zero_grad()
        loss = next_token_loss(model, ids, targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, values(model)


def train(comm, kind):
    """(losses of whole sequences, parameters) on shards of them."""
    kind, layout = KINDS[kind]
    model = context_parallel.context_parallel(built().to(HOME), comm, kind, layout)
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    losses = [
        context_parallel.training_step(model, optimizer, ids, targets, comm, layout)
        for ids, targets in zip(TOKENS[..., :-1], TARGETS)
    ]
    return losses, model.state_dict()


def check_training(results):
    losses, parameters = reference()
    for found, mine in results:
        np.testing.assert_allclose(found, losses, rtol=0, atol=1e-12)
        assert set(mine) == set(parameters)
        for name, array in mine.items():
            np.testing.assert_allclose(array, parameters[name], rtol=0, atol=1e-12, err_msg=name)


CASES = {}
for _kind in KINDS:
    for _size in (1, 2, 4):
        CASES[f"{_kind} trains, {_size} ranks"] = Case(
            partial(train, kind=_kind), _size, check_training
        )
    for _causal in (False, True):
        _given = dict(kind=_kind, causal=_causal)
        _name = f"{_kind}, causal={_causal}, 4 ranks"
        CASES[_name] = Case(partial(attention, **_given), 4, partial(check_attention, **_given))
    _given = dict(kind=_kind, causal=True, heads=(6, 2))
    _name = f"{_kind}, 3 queries share a key, 2 ranks"
    CASES[_name] = Case(partial(attention, **_given), 2, partial(check_attention, **_given))
