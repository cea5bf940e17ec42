"""Parameters side by side in flat arrays: what ZeRO shares out and sends in one message."""

from collections import Counter

import numpy as np

from minigrad import backend, nn
from minigrad.tensor import Tensor


class Unit:
    """Parameters that are kept, reduced and gathered together, in flat arrays of ``length``.

    weights: (length,), which the parameters are views of; in stage 3 (length/P,), this rank's own
    share. gradient: (length,), from stage 2 on (length/P,); None when there is none. shard: what
    the optimizer sees of this rank's share: its master weights, or, but for half precision, the
    weights themselves.
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
        self.gradient = self.filling = self.coming = None
        self.missing = set()

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
            p.data = np.broadcast_to(np.full_like(p.data, np.nan, shape=()), p.shape)

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
        if self.stage < 2:
            self.gradient[self.own] = mean
            return
        self.filling = None
        self.gradient = mean if self.gradient is None else self.gradient + mean


def outermost_blocks(module):
    """The items of the outermost ModuleLists, in order."""
    if isinstance(module, nn.ModuleList):
        return list(module)
    return [block for _, child in module.children() for block in outermost_blocks(child)]


def in_groups(module, blocks):
    """Lists of the parameters that require gradients: one a block, and last what belongs to no
    block, or not to one alone."""
    holders = Counter(id(p) for block in blocks for p in block.parameters())
    holders.update({id(p) for p in _beside(module, blocks)})
    own = [[p for p in block.parameters() if holders[id(p)] == 1] for block in blocks]
    taken = {id(p) for group in own for p in group}
    rest = [p for p in module.parameters() if id(p) not in taken]
    return [[p for p in group if p.requires_grad] for group in [*own, rest]]


def _beside(module, blocks):
    """The parameters that can be reached without entering a block."""
    seen, waiting, found = {id(block) for block in blocks}, [module], []
    while waiting:
        part = waiting.pop()
        if id(part) not in seen:
            seen.add(id(part))
            found += [p for p in vars(part).values() if isinstance(p, nn.Parameter)]
            waiting += [child for _, child in part.children()]
    return found
