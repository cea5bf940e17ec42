"""Parameters side by side in flat arrays: what ZeRO shares out and sends in one message."""

import numpy as np

from minigrad import backend, engine
from minigrad.tensor import Tensor


class Unit:
    """Parameters that are kept, reduced and gathered together, in flat arrays of ``length``.

    weights: (length,), which the parameters are views of; in stage 3 (length/P,), this rank's own
    share. gradient: (length,), from stage 2 on (length/P,); None when there is none; ``complete``
    says whether this rank's share of it has been reduced. shard: what the optimizer sees of this
    rank's share: its master weights, or, but for half precision, the weights themselves.
    """

    def __init__(self, parameters, comm, stage):
        kinds = {str(p.dtype) for p in parameters}
        if len(kinds) > 1:
            raise TypeError(f"ZeRO: a block's parameters have dtypes {', '.join(sorted(kinds))}")
        self.stage, shares = stage, comm.size if stage else 1
        self.size = sum(p.size for p in parameters)
        self.length = -(-self.size // comm.size) * comm.size
        n = self.length // shares
        self.own = slice(comm.rank * n, comm.rank * n + n) if stage else slice(0, n)
        whole = np.zeros_like(parameters[0].data, shape=self.length)
        ends = np.cumsum([p.size for p in parameters])
        self.views = {p: slice(int(end) - p.size, int(end)) for p, end in zip(parameters, ends)}
        for p, place in self.views.items():
            whole[place] = p.data.reshape(-1)
        self.weights = whole[self.own].copy() if stage == 3 else whole
        self.hide() if stage == 3 else self.show(whole)
        own = self.own_weights
        master = own.astype(np.float32) if own.dtype in backend.HALF else own
        self.shard = Tensor.constant(master).requires_grad_()
        self.coming = None
        self.forget()
        self.noted()

    @property
    def own_weights(self):
        """(length/P,): this rank's share of the weights."""
        return self.weights if self.stage == 3 else self.weights[self.own]

    @property
    def own_gradient(self):
        """(length/P,): this rank's share of the gradient, once it is reduced."""
        return self.gradient if self.stage >= 2 else self.gradient[self.own]

    def show(self, whole):
        """Let the parameters be views of the whole weights (length,)."""
        for p, place in self.views.items():
            p.data = whole[place].reshape(p.shape)

    def hide(self):
        """Let go of the whole weights: the parameters keep their shapes, and are NaN."""
        for p in self.views:
            p.data = np.broadcast_to(np.full_like(backend.zeros((), p.data), np.nan), p.shape)

    def load(self, arrays):
        """Take {parameter: array}, in the weights' dtype or the master weights'."""
        whole = np.zeros_like(self.shard.data, shape=self.length)
        for p, place in self.views.items():
            whole[place] = arrays[p].reshape(-1)
        self.shard.data[...] = whole[self.own]
        self.weights[...] = whole[self.own] if self.stage == 3 else whole
        engine.wrote(self.weights)
        self.coming = None
        self.noted()

    def noted(self):
        """Weights and master weights are the same now."""
        self.clock = engine.wrote.clock

    def written(self):
        """See to weights that somebody else has written: the master weights follow."""
        if engine.wrote.since(self.clock, self.weights):
            self.shard.data[...] = self.own_weights

    def forget(self):
        """Have no gradient."""
        self.gradient = self.filling = self.before = None
        self.complete = False

    def begin(self):
        """Be ready for a backward pass. In stage 1 a reduced share is set aside, and the rest, what
        only this rank has summed, dropped: both have been counted."""
        self.missing = set(self.views)
        if self.stage == 1 and self.complete:
            self.before = self.own_gradient.copy()
            self.gradient[...] = 0
        self.complete = False

    def add(self, p, g):
        """Add a parameter's gradient of this rank."""
        if self.filling is None:
            self.filling = np.zeros_like(self.weights, shape=self.length)
        self.filling[self.views[p]] += g.reshape(-1)
        if self.stage < 2:
            self.gradient = self.filling
        self.missing.discard(p)

    def reduced(self, mean):
        """Take the mean over ranks: (length,) in stage 0, else this rank's share (length/P,)."""
        self.complete = True
        if self.stage < 2:
            self.gradient[self.own] = mean if self.before is None else mean + self.before
            self.before = None
            return
        self.filling = None
        self.gradient = mean if self.gradient is None else self.gradient + mean
