"""Axes together: training on a mesh is training on one device."""

import functools

import numpy as np

import minigrad as mg
from distributed_cases import Case
from minigrad import distributed as dist
from minigrad import nn, optim
from minigrad.distributed import schedules
from minigrad.distributed.mesh_training import MeshTraining
from minigrad.models import GPT, GPTConfig

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


@functools.cache
def reference(**model):
    model = built(**model)
    optimizer, losses = optim.AdamW(model.parameters(), lr=1e-2), []
    for ids in DRAWN:
        optimizer.zero_grad()
        loss = mg.cross_entropy(model(ids[:, :-1]), ids[:, 1:])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, model.state_dict()


def train(comm, axes, model, options):
    training = MeshTraining(built(**model), dist.Mesh(comm, **axes), **options)
    optimizer, losses = optim.AdamW(training.parameters(), lr=1e-2), []
    for ids in DRAWN:
        optimizer.zero_grad()
        losses.append(training.step(ids[:, :-1], ids[:, 1:]))
        optimizer.step()
    return losses, training.gathered()


def check(results, model):
    losses, parameters = reference(**model)
    for found, whole in results:
        np.testing.assert_allclose(found, losses, rtol=0, atol=1e-12)
        assert whole.keys() == parameters.keys()
        for name in parameters:
            np.testing.assert_allclose(
                whole[name], parameters[name], rtol=0, atol=1e-12, err_msg=name
            )


def case(model=None, micro_batches=1, schedule=schedules.one_f_one_b, **axes):
    model = model or {}
    options = dict(micro_batches=micro_batches, schedule=schedule)
    fn = functools.partial(train, axes=axes, model=model, options=options)
    return Case(fn, int(np.prod(list(axes.values()))), functools.partial(check, model=model))


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
