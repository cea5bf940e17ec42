"""All schemes at once: a GPT on a mesh of data, expert, context, pipeline and tensor axes.

What each axis cuts, and what its ranks tell each other in a step:

    data       the batch            gradients, once
    expert     the batch; experts   tokens to experts and back, in each layer; gradients, once
    context    the positions        keys and values, in each layer; gradients, once
    pipeline   the layers           activations and their gradients between stages
    tensor     heads, hidden units  two AllReduces a block each way
               and words

An axis that the mesh does not have counts as 1. Gradients are averaged over data, expert and
context together: all three hold copies of the same weights (but for the experts themselves) that
have seen different tokens.
"""

import math
import zlib

import numpy as np

import minigrad as mg
from minigrad import backend, nn
from minigrad.distributed import schedules, tensor_parallel
from minigrad.distributed.context_parallel import context_parallel
from minigrad.distributed.expert_parallel import average_gradients, expert_parallel
from minigrad.distributed.gpt_parts import cut
from minigrad.distributed.gradients import scale_gradients
from minigrad.distributed.pipeline import Pipeline
from minigrad.distributed.shards import IGNORED, positions, shard

AXES = ("data", "expert", "context", "pipeline", "tensor")


class MeshTraining:
    """One rank's part of a GPT that is trained on a Mesh.

        training = MeshTraining(GPT(config, seed=0), mesh, micro_batches=4)
        optimizer = AdamW(training.parameters())
        optimizer.zero_grad()
        loss = training.step(x, y)      # ids and targets (B, L), whole, the same on every rank
        training.clip_grad_norm(1.0)
        optimizer.step()

    Arguments: model, a GPT that all ranks have alike; only this rank's share of it is kept;
    mesh, with axes of AXES; micro_batches, M; schedule, (stages, micro-batches) -> one of
    ``schedules``, as ``partial(interleaved, chunks=2)``; layout, of the context's positions;
    balance, what the experts' auxiliary loss counts in the loss.

    Dropout: ranks of one tensor group draw the masks of one device, all others each their own. To
    that end a model with dropout moves the ranks' random states apart, from where they stand, the
    same on all ranks, when this is made.

    Raises ValueError for axes of other names, models that differ from rank to rank, and for what
    cannot be combined: experts with tensor (they are divided already), their auxiliary loss with a
    pipeline, tied weights with both pipeline and tensor; and what the single schemes refuse.
    """

    def __init__(
        self,
        model,
        mesh,
        micro_batches=1,
        schedule=schedules.one_f_one_b,
        layout="zigzag",
        balance=0.0,
    ):
        if unknown := [name for name in mesh.shape if name not in AXES]:
            known = ", ".join(map(repr, AXES))
            raise ValueError(f"MeshTraining: axis {unknown[0]!r}; expected {known}")
        self.mesh, self.layout, self.balance = mesh, layout, balance
        alone = mesh.along()
        axes = {name: getattr(mesh, name) if name in mesh.shape else alone for name in AXES}
        self.expert, self.context = axes["expert"], axes["context"]
        self.pipeline, self.tensor = axes["pipeline"], axes["tensor"]
        replicas = {"data", "context"} & mesh.shape.keys()
        self.replicas = mesh.along(*replicas)  # ranks with the same weights, experts' too
        self.batches = mesh.along(*({"data", "expert"} & mesh.shape.keys()))
        self.copies = mesh.along(*replicas, *({"expert"} & mesh.shape.keys()))
        self.whole = mesh.along(*({"pipeline", "tensor", "expert"} & mesh.shape.keys()))
        self._refuse(model)
        _check_alike(model, mesh.comm)
        self.n_experts = None
        actions = schedule(self.pipeline.size, micro_batches)
        S, _, v = schedules.size(actions)
        parts = cut(self._shared_out(model), S * v)
        self.pipe = Pipeline(self.pipeline, parts, actions, self._loss)
        self.part = nn.ModuleList(self.pipe.parts)
        if any(isinstance(m, nn.Dropout) and m.p for _, m in model.named_modules()):
            self._draw_apart()

    def _draw_apart(self):
        number = 0  # of the tensor group
        for name, size in self.mesh.shape.items():
            number = number if name == "tensor" else number * size + self.mesh.coordinates[name]
        bits = np.random.PCG64()
        bits.state = backend.random_state()
        backend.set_random_state(bits.jumped(number).state)

    def _refuse(self, model):
        experts = any(isinstance(m, nn.MixtureOfExperts) for _, m in model.named_modules())
        if experts and self.tensor.size > 1:
            raise ValueError(
                "MeshTraining: experts are divided along 'expert'; the axis 'tensor' has "
                f"{self.tensor.size} ranks, expected 1"
            )
        if experts and self.balance and self.pipeline.size > 1:
            raise ValueError(
                "MeshTraining: the experts' auxiliary loss would have to travel along the "
                f"pipeline; give balance=0, or 1 stage, not {self.pipeline.size}"
            )
        if not experts and self.expert.size > 1:
            raise ValueError(
                f"MeshTraining: the axis 'expert' has {self.expert.size} ranks, and the model no "
                "experts; call it 'data'"
            )
        if model.config.tie_weights and self.tensor.size > 1 and self.pipeline.size > 1:
            raise ValueError(
                "MeshTraining: tied weights that are cut by words and stand on the first and the "
                "last stage; give tie_weights=False, or one axis of the two"
            )

    def _shared_out(self, model):
        """The model with this rank's share of weights and experts, and attention across ranks."""
        self.cut_axes = {}
        if self.tensor.size > 1:
            model = tensor_parallel.shard(model, self.tensor)
            self.cut_axes = {
                name: tensor_parallel.cut_axis(owner, attribute)
                for name, owner, attribute, _ in model.places()
            }
        if self.expert.size > 1:
            for _, module in model.named_modules():
                if isinstance(module, nn.MixtureOfExperts):
                    self.n_experts = module.n_experts
            expert_parallel(model, self.expert)
        if self.context.size > 1:
            context_parallel(model, self.context, layout=self.layout)
        return model

    def _loss(self, logits, targets):
        if self.tensor.size > 1:
            return tensor_parallel.cross_entropy(logits, targets, self.tensor)
        loss = mg.cross_entropy(logits, targets)
        return loss + self.balance * nn.auxiliary_loss(self.part) if self.balance else loss

    def parameters(self):
        """This rank's Parameters."""
        return self.pipe.parameters()

    def step(self, x, y):
        """Forward and backward of ids x and targets y (B, L): the mean loss, on every rank.

        The mean is over all targets that are not −100, wherever they are. Its gradients are added
        to ``grad``. Raises ValueError where ranks or micro-batches do not divide B, or context
        ranks L; where x and y differ from rank to rank; where no target counts; and for targets of
        −100 together with ``balance`` on several ranks or micro-batches.
        """
        x, y = np.asarray(x), np.asarray(y)
        counted = int((y != IGNORED).sum())
        if self.balance and counted < y.size and self.copies.size * self.pipe.M > 1:
            raise ValueError(
                f"MeshTraining: {y.size - counted} targets are {IGNORED}; with balance = "
                f"{self.balance} every share and micro-batch has to count alike"
            )
        for part in self.pipe.parts:
            part.positions = None
            if self.context.size > 1:
                group = self.context
                part.positions = positions(x.shape[1], group.rank, group.size, self.layout)
        earlier = [(p, p.grad) for p in self.parameters()]  # averaged already
        self.part.zero_grad()
        with self.mesh.comm.phase("layers"):
            loss = self.pipe.step(self._own(x), self._own(y), counted / self.copies.size)
        with self.mesh.comm.phase("gradients"):
            average_gradients(self.part, self.copies, self.replicas)
        for p, g in earlier:
            if g is not None:
                p.grad = g if p.grad is None else p.grad + g
        return self._mean(loss, x, y)

    def _mean(self, loss, x, y):
        """The mean of all ranks' losses, if they had the same batch."""
        mark = zlib.crc32(np.ascontiguousarray(y), zlib.crc32(np.ascontiguousarray(x)))
        with self.mesh.comm.phase("loss"):
            every = self.mesh.comm.all_gather(np.array([[loss, mark, len(x)]]))  # (P, 3)
        if other := np.flatnonzero((every[:, 1:] != every[0, 1:]).any(axis=1)).tolist():
            raise ValueError(
                f"MeshTraining.step: ranks {other} were given other ids or targets than rank 0 "
                f"(batches of {', '.join(f'{size:.0f}' for size in every[:, 2])}); expected the "
                "whole batch, the same on every rank"
            )
        return every[:, 0].mean().item()

    def clip_grad_norm(self, max_norm):
        """Scale all gradients so that the norm of the whole model's is at most ``max_norm``.

        Returns that norm before clipping, a float, the same on every rank; all call it, after
        ``step``. What several ranks hold counts once. Raises ValueError for a max_norm that is not
        positive, FloatingPointError where the norm is not finite.
        """
        if not max_norm > 0:
            raise ValueError(f"MeshTraining.clip_grad_norm: max_norm is {max_norm}; expected > 0")
        squares = 0.0
        for name, p in self.pipe.named_parameters().items():
            if p.grad is not None:
                squares += np.square(p.grad.numpy().astype(np.float64)).sum() / self._held(name)
        with self.mesh.comm.phase("norm"):
            norm = math.sqrt(self.whole.all_reduce(np.array(squares, np.float64)).item())
        if not math.isfinite(norm):
            raise FloatingPointError(f"MeshTraining.clip_grad_norm: the gradients' norm is {norm}")
        if norm > max_norm:
            scale_gradients(self.parameters(), max_norm / norm)
        return norm

    def _held(self, name):
        """How many ranks of those that make up one model hold a parameter."""
        tensor = self.tensor.size if self.cut_axes.get(name) is None else 1
        expert = 1 if ".experts." in name else self.expert.size
        return len(self.pipe.layout[name][2]) * tensor * expert

    def _own(self, x):
        """(B, L) -> (B/(data·expert), L/context)."""
        if len(x) % self.batches.size:
            raise ValueError(
                f"MeshTraining: rank {self.mesh.comm.rank}: a batch of {len(x)} does not divide "
                f"among {self.batches.size} ranks"
            )
        x = np.split(x, self.batches.size)[self.batches.rank]
        return shard(x, self.context, self.layout) if self.context.size > 1 else x

    def gathered(self):
        """{name: array}, the ``state_dict`` of the whole model, on every rank."""
        whole = {}
        for name, array in self.pipe.gathered().items():
            axis = self.cut_axes.get(name)
            if axis is not None:
                array = self.tensor.all_gather(array, axis)
            head, experts, tail = name.partition(".experts.")
            if not experts or self.expert.size == 1:
                whole[name] = array
                continue
            number, _, rest = tail.partition(".")
            each = self.n_experts // self.expert.size
            for rank, found in enumerate(self.expert.all_gather(array[None])):
                whole[f"{head}{experts}{rank * each + int(number)}.{rest}"] = found
        return whole


def _check_alike(model, comm):
    """Raise ValueError, on every rank, unless all have the same parameters."""
    mark = 0
    for name, p in model.named_parameters():
        array = np.ascontiguousarray(backend.to_device(p.data, "cpu"))
        mark = zlib.crc32(f"{name} {p.shape} {p.dtype}".encode(), mark)
        mark = zlib.crc32(array.reshape(-1).view(np.uint8), mark)
    with comm.phase("start"):
        marks = comm.all_gather(np.array([mark]))
    if other := np.flatnonzero(marks != marks[0]).tolist():
        raise ValueError(
            f"MeshTraining: the models of ranks {other} differ from rank 0's; build them with the "
            "same seed=, or load the same file"
        )
