"""The blocks of a model, which ZeRO reduces, gathers and frees one at a time."""

from collections import Counter

from minigrad import nn
from minigrad.transforms import checkpoint


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


class Gathered(nn.Module):
    """A block whose weights are there while it runs, in forward and again in backward."""

    def __init__(self, block, unit, zero):
        self.block, self.unit, self.zero = block, unit, zero

    def forward(self, *args, **kwargs):
        return checkpoint(self._run)(*args, **kwargs)

    def _run(self, *args, **kwargs):
        with self.zero.gathered(self.unit):
            return self.block(*args, **kwargs)


def replace(module, block, by):
    """Put another module in the place of a block."""
    for _, owner in module.named_modules():
        for name, child in owner.children():
            if child is block:
                setattr(owner, name, by)
