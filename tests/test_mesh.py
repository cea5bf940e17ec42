"""Ranks along several axes."""

import numpy as np
import pytest
from distributed_cases import mesh

import minigrad as mg
from minigrad import backend, nn
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


def test_bytes_of_data_pipeline_and_tensor_together():
    M, D, S, T = 2, 2, 2, 2  # micro-batches; ranks along data, pipeline and tensor
    B, L, d, l, V = mesh.BATCH, mesh.LENGTH, 16, 4, mesh.VOCABULARY
    number = 8  # bytes

    def main(comm):
        training = MeshTraining(mesh.built(), dist.Mesh(comm, data=D, pipeline=S, tensor=T), M)
        ids = mesh.DRAWN[0]
        training.step(ids[:, :-1], ids[:, 1:])
        training.clip_grad_norm(1.0)

    traffic = dist.run(main, D * S * T).traffic
    between = B // (D * M) * L * d * number  # (b, L, d), which T pipelines carry each on their own
    for phase in ("activation", "gradient"):
        assert traffic.bytes(phase=phase) == D * T * M * (S - 1) * between
    # An AllReduce among two ranks: each sends all it has. Four a block, one for the embedding, one
    # for the head; and of the loss the largest logit, the sum and the target's logit.
    layers = D * M * T * ((4 * l + 2) * between + 3 * (B // (D * M)) * L * number)
    assert traffic.bytes(phase="layers") == layers
    # Gradients once, among two: of what is cut a T-th, of biases behind a sum and of norms all.
    block = (4 * d * d + 8 * d * d + 3 * d + 4 * d) // T + d + d + 4 * d
    rank = l // S * block  # and on the first stage the embeddings, on the last norm and head
    ends = (V * d // T + L * d) + (2 * d + d * V // T)
    assert traffic.bytes(phase="gradients") == D * T * (S * rank + ends) * number
    # The loss: down each pipeline, then gathered with two marks of the batch from all to all.
    P = D * S * T
    assert traffic.bytes(phase="loss") == D * T * (S - 1) * number + P * (P - 1) * 3 * number
    # The norm's square among S·T = 4 ranks: two rounds of one number from each.
    assert traffic.bytes(phase="norm") == P * 2 * number


@pytest.mark.parametrize("axes", [{"data": 2}, {"expert": 2}, {"tensor": 2}, {"pipeline": 2}])
@pytest.mark.parametrize("rows", [4, 8])
def test_ranks_with_other_batches_are_told(axes, rows):
    def main(comm):
        training = MeshTraining(mesh.built(experts="expert" in axes), dist.Mesh(comm, **axes))
        ids = mesh.DRAWN[comm.rank, : rows if comm.rank else 8]
        training.step(ids[:, :-1], ids[:, 1:])

    words = rf"ranks \[1\] were given other .* than rank 0 \(batches of 8, {rows}\)"
    if rows == 4 and axes.keys() & {"tensor", "pipeline"}:  # messages do not fit already
        words = "shape|rank 1 expected|sent float64"
    with pytest.raises((ValueError, dist.DistributedError), match=words):
        dist.run(main, 2)


@pytest.mark.parametrize("axis", ["data", "tensor", "context", "pipeline"])
def test_models_that_differ_from_rank_to_rank_are_refused(axis):
    def main(comm):
        model = mesh.built()
        model.blocks[2].mlp.down.weight.data[3, 1] += 1e-9 * (comm.rank == 1)
        MeshTraining(model, dist.Mesh(comm, **{axis: 4}))

    with pytest.raises(ValueError, match=r"the models of ranks \[1\] differ from rank 0's"):
        dist.run(main, 4)


def test_only_ranks_of_one_tensor_group_drop_alike():
    def main(comm, dropout):
        with nn.init.seeded(3):
            MeshTraining(mesh.built(dropout=dropout), dist.Mesh(comm, data=2, pipeline=2, tensor=2))
            return backend.generator().random(4).tolist()

    drawn = list(dist.run(main, 8, args=(0.1,)))
    assert [drawn.index(each) for each in drawn] == [0, 0, 2, 2, 4, 4, 6, 6]
    with nn.init.seeded(3):
        untouched = backend.generator().random(4).tolist()
    assert drawn[0] == untouched
    assert list(dist.run(main, 8, args=(0.0,))) == [untouched] * 8


def test_replicas_with_dropout_are_the_mean_of_what_each_drops():
    def main(comm):
        with nn.init.seeded(3):
            training = MeshTraining(mesh.built(dropout=0.5), dist.Mesh(comm, data=2))
            state = backend.random_state()
            ids = np.tile(mesh.DRAWN[0, :4], (2, 1))  # both replicas see the same rows
            loss = training.step(ids[:, :-1], ids[:, 1:])
            with backend.replayed_random_state(state):
                own = mg.cross_entropy(mesh_model(ids[:4, :-1]), ids[:4, 1:]).item()
            return loss, own

    mesh_model = mesh.built(dropout=0.5)
    (loss, one), (again, other) = dist.run(main, 2)
    assert abs(one - other) > 1e-3
    assert loss == again == pytest.approx((one + other) / 2, abs=1e-12)


def test_steps_that_are_refused():
    def main(comm, options, y, max_norm=1.0, axes=("data",)):
        model = mesh.built(experts=True)
        training = MeshTraining(model, dist.Mesh(comm, **dict.fromkeys(axes, 2)), **options)
        x = mesh.DRAWN[0, :, :-1]
        training.step(x, x if y is None else np.full_like(x, y))
        training.parameters()[0].grad.data[...] = np.inf if max_norm == 2.0 else 1.0
        training.clip_grad_norm(max_norm)

    for args, words in [
        (({"balance": 0.1}, -100), "64 targets are -100; with balance = 0.1 every share"),
        (({}, -100), "rank 0: all targets are -100"),
        (({}, None, 0.0), "max_norm is 0.0; expected > 0"),
        (({}, None, float("nan")), "max_norm is nan; expected > 0"),
    ]:
        with pytest.raises(ValueError, match=words):
            dist.run(main, 2, args=args)
    with pytest.raises(FloatingPointError, match="the gradients' norm is inf"):
        dist.run(main, 2, args=({}, None, 2.0))


def test_a_sequence_beyond_the_model_is_refused_on_context_ranks_too():
    def main(comm):
        ids = np.zeros((2, 16), int)
        MeshTraining(mesh.built(), dist.Mesh(comm, context=2)).step(ids, ids)

    with pytest.raises(ValueError, match="longer than context_length = 8"):
        dist.run(main, 2)
