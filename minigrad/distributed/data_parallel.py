"""Data parallelism: the same model on every rank, a share of the batch each, one mean gradient.

Gradients travel in buckets, several parameters in one message, and a bucket leaves as soon as
backward has completed its last gradient: the AllReduce of the last layers overlaps with the
backward pass of the first. Per rank and step 2(P − 1)/P·n bytes leave for n bytes of gradients
(ring). Source: Li et al. 2020, "PyTorch Distributed".
"""

import numpy as np

from minigrad import engine
from minigrad.distributed import gradients
from minigrad.tensor import Tensor


class DataParallel:
    """A module whose gradients are the mean over the ranks of ``comm``.

        parallel = DataParallel(model, comm)
        loss = next_token_loss(parallel, local_batch(x, comm), local_batch(y, comm))
        parallel.backward(loss)  # in place of loss.backward()
        optimizer.step()

    Ranks begin with rank 0's parameters. With a loss that is a mean over the rank's share, and
    shares of one size, the mean gradient is that of the whole batch on one device; with shares of
    several sizes it is where ``backward`` is told each rank's, and the first one asks for it.
    Dropout: ranks have equal random states at the start of a run; ``mg.manual_seed`` makes them
    differ. Freezing or converting parameters afterwards asks for another DataParallel.

    Arguments:
        bucket_bytes: the most that a bucket holds (a larger parameter has one to itself).
        overlap: whether buckets leave during backward; False: all leave when it is over.
        algorithm: of the AllReduce; None is the engine's choice.
        allow_unused: whether a parameter without gradient counts as one with gradient 0 instead of
            being an error.
        work: simulated seconds that forward takes for each number in the parameters, 2·tokens
            divided by FLOP/s; backward takes twice that.
    """

    def __init__(
        self,
        module,
        comm,
        *,
        bucket_bytes=25 * 2**20,
        overlap=True,
        algorithm=None,
        allow_unused=False,
        work=0.0,
    ):
        if not bucket_bytes > 0:
            raise ValueError(f"DataParallel: bucket_bytes must be positive, got {bucket_bytes}")
        self.module, self.comm = module, comm
        self.overlap, self.algorithm, self.allow_unused = overlap, algorithm, allow_unused
        self.work = work
        self.names = {p: name for name, p in module.named_parameters() if p.requires_grad}
        if not self.names:
            raise ValueError("DataParallel: the module has no parameters that require gradients")
        # Backward completes the last layers' gradients first, roughly.
        order = list(reversed(self.names))
        self.kinds = gradients.kinds(module)
        self.buckets = [Bucket(parameters) for parameters in in_buckets(order, bucket_bytes)]
        self.bucket_of = {p: bucket for bucket in self.buckets for p in bucket.views}
        self.shares = gradients.Shares("DataParallel", comm)
        gradients.broadcast_parameters(module, comm)

    def __call__(self, *args, **kwargs):
        """What the module makes of this rank's share."""
        self.shares.take(args)
        self.comm.compute(self.work * sum(p.size for p in self.names), "forward")
        return self.module(*args, **kwargs)

    def backward(self, loss, gradient=None, *, reduce=True, weight=None):
        """Backward from ``loss`` (with ``gradient``, unless it is a number); every parameter's
        ``grad`` is then the mean over ranks.

        ``reduce=False`` keeps this rank's own sums, for all micro-batches of a step but the last:
        what they have added up to is reduced once. ``weight``, given on every rank or on none:
        what this rank's loss counts in the mean, the size of its share if they differ.

        Raises DistributedError for a parameter that has no gradient, ValueError for one that has
        been frozen, unfrozen, converted or moved in the meantime, and for shares that differ in the
        first pass without ``weight``.
        """
        gradients.unchanged("DataParallel", self.module, self.kinds, self.comm)
        loss = self.shares.weighted(loss, weight)
        for bucket in self.buckets:
            bucket.missing = set(bucket.views)
        self.waiting = list(reversed(self.buckets))  # the next to leave is the last
        self.leaving = reduce and self.overlap
        with engine.state(on_leaf=self._on_leaf):
            loss.backward(gradient)
        if reduce:
            self._complete()
            self._launch()
            for bucket in self.buckets:
                bucket.flat[...] = bucket.handle.wait()
                bucket.handle = None

    def _on_leaf(self, tensor, g):
        bucket = self.bucket_of.get(tensor)
        if bucket is None:
            return False
        self.comm.compute(2 * self.work * tensor.size, f"backward {self.names[tensor]}")
        bucket.add(tensor, g)
        if self.leaving:
            self._launch()
        return True

    def _launch(self):
        """Send off the buckets that are complete, in the one order that all ranks keep."""
        while self.waiting and not self.waiting[-1].missing:
            bucket = self.waiting.pop()
            with self.comm.phase("gradients"):
                bucket.handle = self.comm.all_reduce(
                    bucket.flat, "mean", algorithm=self.algorithm, async_op=True
                )

    def _complete(self):
        """See to parameters that this backward pass did not come to."""
        for bucket in self.buckets:
            for p in [p for p in bucket.views if p in bucket.missing]:
                if p.grad is None and not self.allow_unused:
                    raise gradients.unused("DataParallel", self.names[p], self.comm)
                bucket.add(p, 0)

    def __repr__(self):
        total = sum(bucket.flat.nbytes for bucket in self.buckets)
        return (
            f"DataParallel(rank {self.comm.rank} of {self.comm.size}, {total:,} bytes of gradients "
            f"in {len(self.buckets)} buckets)"
        )


class Bucket:
    """Some parameters' gradients side by side in one flat array, which one message carries."""

    def __init__(self, parameters):
        self.flat = np.zeros_like(parameters[0].data, shape=sum(p.size for p in parameters))
        ends = np.cumsum([p.size for p in parameters])[:-1]
        pieces = np.split(self.flat, [int(end) for end in ends])
        self.views = {p: piece.reshape(p.shape) for p, piece in zip(parameters, pieces)}
        self.missing, self.handle = set(), None

    def add(self, p, g):
        """Add a gradient to what the parameter has, and keep the sum in the bucket."""
        view = self.views[p]
        if p.grad is None:
            view[...] = g
        else:
            np.add(p.grad.data, g, out=view)
        p.grad = Tensor.constant(view)
        self.missing.discard(p)


def in_buckets(parameters, nbytes):
    """Lists of successive parameters, each list of one dtype and device and at most ``nbytes``."""
    buckets, room, kind = [], 0, None
    for p in parameters:
        if (p.dtype, p.device) != kind or p.data.nbytes > room:
            buckets.append([])
            room, kind = nbytes, (p.dtype, p.device)
        buckets[-1].append(p)
        room -= p.data.nbytes
    return buckets


def local_batch(x, comm):
    """Rank r's share of a batch: (B, …) -> (B/P, …). Raises ValueError unless P divides B."""
    if len(x) % comm.size:
        raise ValueError(
            f"local_batch: rank {comm.rank}: a batch of {len(x)} does not divide into {comm.size} "
            "equal shares, one a rank"
        )
    n = len(x) // comm.size
    return x[comm.rank * n : (comm.rank + 1) * n]
