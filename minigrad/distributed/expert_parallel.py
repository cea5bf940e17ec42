"""Expert parallelism: rank r holds E/P of the experts, and tokens travel to theirs and back.

Every rank has tokens of its own (it is a data-parallel rank, too). A layer then makes three
exchanges: counts, since nobody knows how many rows will come; tokens to their experts (dispatch);
answers back home (combine). Backward makes the last two again, the other way round, because an
AllToAll's derivative is the AllToAll back. A rank sends, with N rows of D numbers that leave it,

    8·E·(P − 1)/P                 bytes of counts
    N·D·itemsize                  bytes in each of dispatch and combine, forward and backward,

of which a rank that receives M rows from others sends M·D·itemsize in combine and in dispatch's
backward. Parameters: E/P experts a rank in place of E, work as without experts.
Sources: GShard (Lepikhin et al. 2020), Switch (Fedus et al. 2021), DeepSpeed-MoE (2022).
"""

import numpy as np

from minigrad import nn
from minigrad.distributed.gradients import all_reduce_gradients, scale_gradients


class ExpertParallel(nn.MixtureOfExperts):
    """A rank's part of a MixtureOfExperts that all ranks built alike: (…, D) -> (…, D).

    Rank r keeps experts r·E/P to (r + 1)·E/P − 1 (``experts[0]`` is the first of them) and the
    whole router. Ranks may have different numbers of tokens, each at least one.

    capacity: an expert takes ⌈c·k·T/E⌉ of each rank's T tokens, so that every rank knows what it
    drops without asking; a single device with P·T tokens drops less, since ranks do not lend each
    other places. auxiliary_loss: fₑ counts the choices on all ranks (an AllReduce of E integers),
    Pₑ is the mean over this rank's tokens; with equally many tokens a rank, the mean of the ranks'
    losses is exactly the loss of one device that has all tokens.

    Raises ValueError for a number of experts that P does not divide.
    """

    def __init__(self, layer, comm):
        E, P = layer.n_experts, comm.size
        if E % P:
            raise ValueError(
                f"ExpertParallel: rank {comm.rank}: {E} experts do not divide among {P} ranks"
            )
        local = E // P
        self.comm = comm
        self.n_experts, self.capacity_factor = E, layer.capacity_factor
        self.router = layer.router
        self.experts = layer.experts[comm.rank * local : (comm.rank + 1) * local]
        self.auxiliary_loss = self.load = self.dropped = None

    def visit(self, rows, counts):
        """(N, D) -> (N, D): the first counts[0] rows through expert 0, wherever that is, and so
        on."""
        comm = self.comm
        P, local = comm.size, len(self.experts)
        coming = comm.all_to_all(counts).reshape(P, local)  # (E,) -> (P, E/P): from whom to whom
        send, receive = counts.reshape(P, local).sum(axis=1), coming.sum(axis=1)  # (P,)
        rows = comm.all_to_all_rows(rows, send, receive)  # (N, D) -> (M, D): by rank, then expert
        expert = np.repeat(np.tile(np.arange(local), P), coming.reshape(-1))  # (M,)
        order = np.argsort(expert, kind="stable")  # by expert, then rank
        y = super().visit(rows[order], coming.sum(axis=0))
        y = y[np.argsort(order)]  # by rank, then expert
        return comm.all_to_all_rows(y, receive, send)  # (M, D) -> (N, D)

    def summed(self, load):
        return self.comm.all_reduce(load)


def expert_parallel(model, comm):
    """Put ExpertParallel in the place of each MixtureOfExperts of a model; returns the model.

    Call it before the optimizer is made: the experts of other ranks are then gone. Raises
    ValueError for a model that has none inside (a layer alone: ``ExpertParallel(layer, comm)``).
    """
    inside = [
        (module, name, child)
        for _, module in model.named_modules()
        for name, child in module.children()
        if type(child) is nn.MixtureOfExperts
    ]
    if not inside:
        raise ValueError(
            f"expert_parallel: rank {comm.rank}: {type(model).__name__} has no MixtureOfExperts "
            "inside"
        )
    for module, name, child in inside:
        setattr(module, name, ExpertParallel(child, comm))
    return model


def average_gradients(model, comm, replicas=None):
    """Gradients of the mean of all ranks' losses, after ``backward`` of each rank's own.

    Call it once, before the optimizer's step: experts' gradients that an earlier call has divided
    would be divided again. Gradients of several backward passes may have been added up until then.

    Shared parameters (all but the experts) are averaged by an AllReduce. An expert's gradient has
    come together already, in the backward of dispatch, and is divided by P. Where expert groups
    are smaller than ``comm``, ``replicas`` is the Communicator of the ranks that hold the same
    experts, over which their gradients are added up.
    """
    layers = [m for _, m in model.named_modules() if isinstance(m, ExpertParallel)]
    own = {id(p): p for layer in layers for p in layer.experts.parameters()}
    all_reduce_gradients([p for p in model.parameters() if id(p) not in own], comm, op="mean")
    if replicas is not None:
        all_reduce_gradients(own.values(), replicas)
    scale_gradients(own.values(), 1 / comm.size)
