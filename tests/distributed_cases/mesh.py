"""Axes together: training on a mesh is training on one device."""

import functools

import numpy as np

from distributed_cases import HOME, Case, values
from minigrad import distributed as dist
from minigrad import nn, optim
from minigrad.distributed import schedules
from minigrad.distributed.mesh_training import MeshTraining
from minigrad.models import GPT, GPTConfig
from minigrad.training import next_token_loss

STEPS, BATCH, LENGTH, VOCABULARY = 5, 8, 8, 12
DRAWN = np.random.default_rng(6).integers(VOCABULARY, size=(STEPS, BATCH, LENGTH + 1))


def built(experts=False, **changes):
    """A GPT, the same at each call, in float64."""
    model = GPT(GPTConfig(VOCABULARY, LENGTH, 16, 4, 4, bias=True, **changes), seed=0)
    if experts:
        with nn.init.seeded(1):
            for block in model.blocks:
                block.mlp = nn.MixtureOfExperts(16, 4, 2, 20)
    return model.astype("float64")


def targets(ids, ignored):
    """The next ids; with ``ignored``, most of those of the first half of the rows do not count,
    and none of the very first two rows'."""
    y = ids[:, 1:].copy()
    if ignored:
        y[:4, 2:] = -100
        y[:2] = -100
    return y


def frozen(model, names):
    """The model, parameters whose names begin with one of ``names`` frozen."""
    for name, p in model.named_parameters():
        p.requires_grad_(not name.startswith(names))
    return model


def steps(parameters, step, clip, every=1, ignored=False, names=None, norm=None):
    """(losses, norms): an update after each ``every`` batches, clipped unless ``norm`` is None.

    With clipping SGD, which AdamW's update would hide."""
    make = optim.AdamW if norm is None else optim.SGD
    trained = [p for p in parameters if p.requires_grad]
    spare = [nn.Parameter([0.0])]  # of a stage that is frozen as a whole
    optimizer = make(trained or spare, lr=1e-2 if norm is None else 0.5)
    losses, norms = [], []
    for number, ids in enumerate(DRAWN, 1):
        losses.append(step(ids[:, :-1], targets(ids, ignored)))
        if number % every == 0:
            norms.append(0.0 if norm is None else clip(norm))
            optimizer.step()
            optimizer.zero_grad()
    return losses, norms


@functools.cache
def reference(how, **model):
    """(losses, norms, parameters) of one device."""
    how, model = dict(how), built(**model).to(HOME)
    frozen(model, how.get("names", ()))

    def step(x, y):
        loss = next_token_loss(model, x, y)
        loss.backward()
        return loss.item()

    clip = lambda norm: optim.clip_grad_norm(model.parameters(), norm)
    with nn.init.seeded(7):
        return *steps(model.parameters(), step, clip, **how), values(model)


def train(comm, axes, model, options, how):
    model = frozen(built(**model), dict(how).get("names", ())).to(HOME)
    with nn.init.seeded(7):
        training = MeshTraining(model, dist.Mesh(comm, **axes), **options)
        found = steps(training.parameters(), training.step, training.clip_grad_norm, **dict(how))
    return *found, training.gathered()


def check(results, model, how):
    losses, norms, parameters = reference(how, **model)
    assert how == () or len(set(losses)) == STEPS
    for found, found_norms, whole in results:
        np.testing.assert_allclose(found, losses, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found_norms, norms, rtol=0, atol=1e-12)
        assert whole.keys() == parameters.keys()
        for name in parameters:
            np.testing.assert_allclose(
                whole[name], parameters[name], rtol=0, atol=1e-12, err_msg=name
            )


def case(model=None, micro_batches=1, schedule=schedules.one_f_one_b, how=(), **axes):
    """``how``: what ``steps`` takes besides, and which parameters are frozen."""
    model, how = model or {}, tuple(dict(how).items())
    options = dict(micro_batches=micro_batches, schedule=schedule)
    fn = functools.partial(train, axes=axes, model=model, options=options, how=how)
    size = int(np.prod(list(axes.values())))
    return Case(fn, size, functools.partial(check, model=model, how=how))


EXPERTS = {"experts": True}
FIRST = ("token_embedding", "position_embedding", "blocks.0", "blocks.1")
CLIPPED, TWO, IGNORED = {"norm": 0.1}, {"every": 2}, {"ignored": True}
CHUNKS = functools.partial(schedules.interleaved, chunks=2)
CASES = {
    "data × tensor": case(data=2, tensor=2),
    "data × pipeline": case(data=2, pipeline=2, micro_batches=2),
    "data × pipeline, tied weights": case({"tie_weights": True}, 4, data=2, pipeline=2),
    "pipeline × tensor": case(pipeline=2, tensor=2, micro_batches=4),
    "data × context": case(data=2, context=2),
    "context × tensor": case(context=2, tensor=2),
    "context × pipeline": case(context=2, pipeline=2, micro_batches=2),
    "data × expert": case({"experts": True}, data=2, expert=2),
    "expert × pipeline": case({"experts": True}, 2, expert=2, pipeline=2),
    "expert × context": case({"experts": True}, expert=2, context=2),
    "data × pipeline, interleaved": case(None, 2, CHUNKS, data=2, pipeline=2),
    "data": case(data=2),
    "expert, two batches a step": case({"experts": True}, how=TWO, expert=2),
    "context": case(context=2),
    "tensor, dropout": case({"dropout": 0.3}, tensor=2),
    "clipped, pipeline × tensor": case(None, 2, how=CLIPPED, pipeline=2, tensor=2),
    "clipped, pipeline, tied weights": case({"tie_weights": True}, 2, how=CLIPPED, pipeline=2),
    "clipped, tensor, tied weights": case({"tie_weights": True}, how=CLIPPED, tensor=2),
    "clipped, expert × pipeline": case(EXPERTS, how=CLIPPED, expert=2, pipeline=2),
    "clipped, data × expert": case(EXPERTS, how=CLIPPED, data=2, expert=2),
    "two batches a step, data × expert": case(EXPERTS, how=TWO, data=2, expert=2),
    "two batches a step, context × pipeline": case(None, 2, how=TWO, context=2, pipeline=2),
    "ignored targets, data × pipeline": case(None, 2, how=IGNORED, data=2, pipeline=2),
    "ignored targets, data × tensor": case(None, 2, how=IGNORED, data=2, tensor=2),
    "ignored targets, context × expert": case(EXPERTS, 2, how=IGNORED, context=2, expert=2),
    "first stage frozen": case(None, 2, how={"names": FIRST}, data=2, pipeline=2),
    "first stage frozen, ZB-H1": case(
        None, 2, schedules.zero_bubble, {"names": FIRST}, data=2, pipeline=2
    ),
    "tied weights frozen": case(
        {"tie_weights": True}, 2, how={"names": ("token_embedding",)}, pipeline=2
    ),
}
#: on the simulated engine alone, as these need more than four ranks
LARGER = {
    "data × pipeline × tensor": case(None, 2, data=2, pipeline=2, tensor=2),
    "data × pipeline × tensor, GPipe": case(None, 4, schedules.gpipe, data=2, pipeline=2, tensor=2),
    "data × pipeline × tensor, 16": case(None, 2, data=2, pipeline=2, tensor=4),
    "data × context × pipeline × tensor": case(None, 2, data=2, context=2, pipeline=2, tensor=2),
    "data × expert × context × pipeline": case(
        {"experts": True}, 2, data=2, expert=2, context=2, pipeline=2
    ),
}
