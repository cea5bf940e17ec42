"""The binomial tree: who has it tells another, and twice as many have it.

⌈log₂P⌉ steps in place of P − 1, each with the whole message: right for few bytes. Ranks are
counted from the root: place = (rank − root) mod P. In round k, place i + 2ᵏ hears from place i.
"""

import numpy as np

from minigrad.distributed.algorithms.pieces import spread


def _rounds(size):
    """1, 2, 4 … below ``size``."""
    return [1 << k for k in range((size - 1).bit_length())]


def broadcast(p, blocks, root):
    """blocks: arrays; afterwards all ranks hold the root's."""
    place = (p.rank - root) % p.size
    for far in _rounds(p.size):
        if place < far:
            if place + far < p.size:
                for block in blocks:
                    p.send(block, (p.rank + far) % p.size)
        elif place < 2 * far:
            for block in blocks:
                block[...] = p.recv(block, (p.rank - far) % p.size)


def reduce(p, blocks, combine, root):
    """The same tree from its leaves: afterwards the root holds what all ranks' make together."""
    place = (p.rank - root) % p.size
    for far in reversed(_rounds(p.size)):
        if place < far:
            if place + far < p.size:
                for block in blocks:
                    combine(block, p.recv(block, (p.rank + far) % p.size))
        elif place < 2 * far:
            for block in blocks:
                p.send(block, (p.rank - far) % p.size)


def all_reduce(p, blocks, combine):
    """Up the tree, and down again."""
    reduce(p, blocks, combine, 0)
    broadcast(p, blocks, 0)


def _share(p, place, far):
    """The places below ``place`` once it has heard: those that it will tell, and itself."""
    return range(place, min(place + far, p.size))


def scatter(p, blocks, root):
    """blocks: P arrays of one shape, the root's filled; afterwards ``blocks[rank]`` is the root's.

    A rank is given the blocks of its whole branch, and hands on half of them each time.
    """
    place = (p.rank - root) % p.size
    for far in reversed(_rounds(p.size)):
        if place % (2 * far) == 0:
            branch = _share(p, place + far, far)
            if len(branch):
                p.send(_together(p, blocks, branch, root), (p.rank + far) % p.size)
        elif place % (2 * far) == far:
            branch = _share(p, place, far)
            _apart(p, blocks, branch, root, p.recv, (p.rank - far) % p.size)


def gather(p, blocks, root):
    """blocks: P arrays of one shape, ``blocks[rank]`` filled; afterwards all of the root's are."""
    place = (p.rank - root) % p.size
    for far in _rounds(p.size):
        if place % (2 * far) == 0:
            branch = _share(p, place + far, far)
            if len(branch):
                _apart(p, blocks, branch, root, p.recv, (p.rank + far) % p.size)
        elif place % (2 * far) == far:
            branch = _share(p, place, far)
            p.send(_together(p, blocks, branch, root), (p.rank - far) % p.size)


def _together(p, blocks, branch, root):
    return np.concatenate([blocks[(place + root) % p.size] for place in branch])


def _apart(p, blocks, branch, root, recv, source):
    mine = [blocks[(place + root) % p.size] for place in branch]
    spread(recv(np.concatenate(mine), source), mine)
