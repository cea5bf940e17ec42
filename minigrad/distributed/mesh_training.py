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

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.distributed import schedules, tensor_parallel
from minigrad.distributed.context_parallel import context_parallel
from minigrad.distributed.expert_parallel import average_gradients, expert_parallel
from minigrad.distributed.gpt_parts import cut
from minigrad.distributed.pipeline import Pipeline
from minigrad.distributed.shards import positions, shard

AXES = ("data", "expert", "context", "pipeline", "tensor")


class MeshTraining:
    """One rank's part of a GPT that is trained on a Mesh.

        training = MeshTraining(GPT(config, seed=0), mesh, micro_batches=4)
        optimizer = AdamW(training.parameters())
        loss = training.step(x, y)      # ids and targets (B, L), whole, the same on every rank
        optimizer.step()

    Arguments: model, a GPT that all ranks have alike; only this rank's share of it is kept;
    mesh, with axes of AXES; micro_batches, M; schedule, of ``schedules``; layout, of the context's
    positions; balance, what the experts' auxiliary loss counts in the loss.

    Raises ValueError for axes of other names, and for what cannot be combined: experts with tensor
    (they are divided already), their auxiliary loss with a pipeline, tied weights with both
    pipeline and tensor; and what the single schemes refuse.
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
        axes = {name: mesh.along(*({name} & mesh.shape.keys())) for name in AXES}
        self.expert, self.context = axes["expert"], axes["context"]
        self.pipeline, self.tensor = axes["pipeline"], axes["tensor"]
        replicas = {"data", "context"} & mesh.shape.keys()
        self.replicas = mesh.along(*replicas)  # ranks with the same weights, experts' too
        self.batches = mesh.along(*({"data", "expert"} & mesh.shape.keys()))
        self.copies = mesh.along(*replicas, *({"expert"} & mesh.shape.keys()))
        self._refuse(model)
        self.n_experts = None
        self.pipe = Pipeline(
            self.pipeline,
            cut(self._shared_out(model), self.pipeline.size),
            schedule(self.pipeline.size, micro_batches),
            self._loss,
        )
        self.part = nn.ModuleList(self.pipe.parts)

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

        Gradients are left in ``grad``. Raises ValueError where ranks or micro-batches do not divide
        B, or context ranks L.
        """
        for part in self.pipe.parts:
            part.positions = None
            if self.context.size > 1:
                group = self.context
                part.positions = positions(x.shape[1], group.rank, group.size, self.layout)
        with self.mesh.comm.phase("layers"):
            loss = self.pipe.step(self._own(x), self._own(y))
        with self.mesh.comm.phase("gradients"):
            average_gradients(self.part, self.copies, self.replicas)
        return self.copies.all_reduce(np.array(loss), "mean").item()

    def _own(self, x):
        """(B, L) -> (B/(data·expert), L/context)."""
        if len(x) % self.batches.size:
            raise ValueError(
                f"MeshTraining: rank {self.mesh.comm.rank}: a batch of {len(x)} does not divide "
                f"among {self.batches.size} ranks"
            )
        x = np.split(np.asarray(x), self.batches.size)[self.batches.rank]
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
