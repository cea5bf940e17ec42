"""What schemes that average gradients share: one message for many, and checks beforehand."""

import numpy as np

from minigrad import engine
from minigrad.distributed.errors import DistributedError
from minigrad.tensor import Tensor


def all_reduce_gradients(parameters, comm, op="sum"):
    """Replace each gradient by the sum (or op="mean") over ranks: one AllReduce a dtype.

    Every rank gives the same parameters. Frozen ones are left alone. One that has a gradient on
    some ranks counts as 0 on the others, and has one everywhere afterwards; where no rank has one,
    there is none, as on one device. (An AllReduce of a byte a parameter says so beforehand.)
    """
    parameters = [p for p in parameters if p.requires_grad]
    if not parameters:
        return
    with comm.phase("which gradients there are"):
        there = comm.all_reduce(np.array([p.grad is not None for p in parameters], "u1"), "max")
    parameters = [p for p, any_rank in zip(parameters, there) if any_rank]
    for dtype in dict.fromkeys(p.dtype for p in parameters):
        same = [p for p in parameters if p.dtype == dtype]
        flat = [(np.zeros_like(p.data) if p.grad is None else p.grad.data).ravel() for p in same]
        total = comm.all_reduce(np.concatenate(flat), op)  # (Σ sizes,)
        start = 0
        for p in same:
            p.grad = Tensor.constant(total[start : start + p.size].reshape(p.shape))
            start += p.size


def scale_gradients(parameters, factor):
    """Multiply each gradient by a number."""
    for p in parameters:
        if p.grad is not None:
            p.grad = Tensor.constant(p.grad.data * p.dtype.type(factor))


class Shares:
    """What the ranks' losses count in the mean over the batch: alike, if their shares have as many
    rows, or as the weights say that the ranks give."""

    def __init__(self, what, comm):
        self.what, self.comm, self.rows, self.checked = what, comm, 0, False

    def take(self, args):
        """Note the arguments of a forward pass."""
        shape = np.shape(args[0]) if args else ()
        self.rows = shape[0] if shape else 1

    def weighted(self, loss, weight):
        """A rank's loss times P·weight/Σ weights: the mean of these is the weighted mean of losses.

        Raises ValueError for a weight that is not positive; and on every rank, in the first call
        without one, for shares that differ (later calls take them for granted).
        """
        if weight is None:
            self._check()
            return loss
        rank, size = self.comm.rank, self.comm.size
        if not weight > 0:
            raise ValueError(f"backward: rank {rank}: weight must be positive, got {weight}")
        with self.comm.phase("weights of shares"):
            return loss * (
                size * float(weight) / self.comm.all_reduce(np.array(float(weight))).item()
            )

    def _check(self):
        if self.checked:
            return
        self.checked = True
        alike = self.comm.split(self.rows)  # the ranks with as many rows
        if alike.size < self.comm.size:
            raise ValueError(
                f"{self.what}: rank {self.comm.rank} has {self.rows} rows, as {alike.size} of "
                f"{self.comm.size} ranks do; the mean over shares that differ needs "
                "backward(loss, weight=rows), on every rank"
            )


def broadcast_parameters(module, comm):
    """Give every rank rank 0's parameters."""
    with comm.phase("start"):
        for p in module.parameters():
            p.data[...] = comm.broadcast(p.data)
            engine.wrote(p.data)


def kinds(module):
    """{parameter: its dtype and device}, of the parameters that require gradients."""
    return {p: (p.dtype, p.device) for p in module.parameters() if p.requires_grad}


def unchanged(what, module, before, comm):
    """Raise ValueError unless the ``kinds`` of a module are still those of before."""
    now = kinds(module)
    for name, p in module.named_parameters():
        if now.get(p) != before.get(p):
            was, has = (f"{k[0]} on {k[1]}" if k else "frozen" for k in (before.get(p), now.get(p)))
            raise ValueError(
                f"{what}: rank {comm.rank}: {name} was {was} when this {what} was made and is "
                f"{has} now; make another one after requires_grad_, astype or to"
            )


def unused(what, name, comm):
    """The error for a parameter that got no gradient."""
    return DistributedError(
        f"{what}: rank {comm.rank}: no gradient came to {name}; every parameter has to take part "
        "in every rank's loss (freeze others with requires_grad_(False))"
    )
