"""Ranks along several axes."""

import numpy as np
import pytest
from distributed_cases import mesh

from minigrad import distributed as dist
from minigrad.distributed.mesh_training import MeshTraining


def test_the_last_axis_varies_fastest():
    def main(comm):
        mesh = dist.Mesh(comm, data=2, pipeline=3, tensor=2)
        mine = np.array([comm.rank])
        groups = [getattr(mesh, name).all_gather(mine).tolist() for name in mesh.shape]
        return mesh.coordinates, groups

    run = dist.run(main, 12)
    for rank, (coordinates, (data, pipeline, tensor)) in enumerate(run):
        d, p, t = np.unravel_index(rank, (2, 3, 2))
        assert coordinates == {"data": d, "pipeline": p, "tensor": t}
        assert data == [p * 2 + t, 6 + p * 2 + t]
        assert pipeline == [d * 6 + t, d * 6 + 2 + t, d * 6 + 4 + t]
        assert tensor == [d * 6 + p * 2, d * 6 + p * 2 + 1]


def test_several_axes_together():
    def main(comm):
        mesh = dist.Mesh(comm, data=2, pipeline=3, tensor=2)
        return mesh.along("data", "tensor").all_gather(np.array([comm.rank])).tolist()

    assert dist.run(main, 12)[3] == [2, 3, 8, 9]


def test_sums_over_all_axes_one_after_the_other_are_sums_over_all_ranks():
    def main(comm):
        mesh = dist.Mesh(comm, data=3, tensor=2)
        x = np.array([1.0 + comm.rank**2])
        return mesh.tensor.all_reduce(mesh.data.all_reduce(x))[0]

    assert list(dist.run(main, 6)) == [1.0 * 6 + sum(r**2 for r in range(6))] * 6


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"data": 3, "tensor": 2}, "data 3 × tensor 2 is 6 ranks; there are 4"),
        ({"data": 4, "tensor": 0}, "data 4 × tensor 0 is 0 ranks; there are 4"),
        ({}, "no axes is 1 ranks; there are 4"),
        ({"along": 4}, "an axis cannot be called 'along'"),
        ({"shape": 4}, "an axis cannot be called 'shape'"),
    ],
)
def test_meshes_that_cannot_be(sizes, words):
    with pytest.raises(ValueError, match=words):
        dist.run(lambda comm: dist.Mesh(comm, **sizes), 4)


def test_an_axis_that_there_is_not():
    main = lambda comm: dist.Mesh(comm, data=2, tensor=2).along("pipeline")
    with pytest.raises(ValueError, match="no axis 'pipeline'; expected one of 'data', 'tensor'"):
        dist.run(main, 4)


@pytest.mark.parametrize("name", mesh.CASES)
def test_two_schemes_together_train_as_one_device_does(name):
    fn, size, check = mesh.CASES[name]
    check(dist.run(fn, size))


@pytest.mark.parametrize("name", mesh.LARGER)
def test_three_and_four_together(name):
    fn, size, check = mesh.LARGER[name]
    check(dist.run(fn, size))


@pytest.mark.parametrize(
    ("model", "axes", "options", "words"),
    [
        ({}, {"data": 2, "depth": 2}, {}, "axis 'depth'; expected 'data', 'expert'"),
        ({}, {"expert": 4}, {}, "'expert' has 4 ranks, and the model no experts"),
        ({"experts": True}, {"expert": 2, "tensor": 2}, {}, "'tensor' has 2 ranks, expected 1"),
        ({"experts": True}, {"pipeline": 4}, {"balance": 0.1}, "give balance=0, or 1 stage, not 4"),
        ({"tie_weights": True}, {"pipeline": 2, "tensor": 2}, {}, "give tie_weights=False"),
    ],
)
def test_what_cannot_be_combined(model, axes, options, words):
    main = lambda comm: MeshTraining(mesh.built(**model), dist.Mesh(comm, **axes), **options)
    with pytest.raises(ValueError, match=words):
        dist.run(main, 4)


def test_a_batch_that_does_not_divide():
    def main(comm):
        training = MeshTraining(mesh.built(), dist.Mesh(comm, data=4))
        training.step(np.zeros((6, 8), int), np.zeros((6, 8), int))

    with pytest.raises(ValueError, match="a batch of 6 does not divide among 4 ranks"):
        dist.run(main, 4)
