"""Recursive doubling and halving: in step k, rank and rank XOR 2ᵏ exchange.

log₂P steps. Doubling exchanges all that one has, halving half of it each time. Where P is no power
of two, the P − 2ᵏ ranks beyond the largest power hand their data to a partner below first, and get
the result back at the end (Rabenseifner 2004); AllGather and AllToAll count steps from the rank
itself in place of XOR, which works for every P (Bruck et al. 1997).
"""

import numpy as np

from minigrad.distributed.algorithms.pieces import chunks, spread


def _core(p):
    """The largest power of two that is at most P."""
    return 1 << (p.size.bit_length() - 1)


def _fold(p, blocks, combine):
    """Ranks beyond the core hand their blocks to their partner in it; whether this rank is in."""
    core = _core(p)
    if p.rank >= core:
        for block in blocks:
            p.send(block, p.rank - core)
        return False
    if p.rank + core < p.size:
        for block in blocks:
            combine(block, p.recv(block, p.rank + core))
    return True


def _unfold(p, blocks):
    """The result goes back to the ranks beyond the core."""
    core = _core(p)
    if p.rank >= core:
        for block in blocks:
            block[...] = p.recv(block, p.rank - core)
    elif p.rank + core < p.size:
        for block in blocks:
            p.send(block, p.rank + core)


def all_reduce(p, blocks, combine):
    """Doubling: after step k, groups of 2ᵏ⁺¹ ranks agree. log₂P whole messages a rank."""
    if _fold(p, blocks, combine):
        far = 1
        while far < _core(p):
            partner = p.rank ^ far
            for block in blocks:
                combine(block, p.send_recv(block, partner, block, partner))
            far *= 2
    _unfold(p, blocks)


def _halves(p, size, distances):
    """Of each step (partner, what this rank keeps, what the partner keeps): slices of ``size``
    chunks, of which the second halves go to ranks with the bit of the distance."""
    low, high = 0, size
    for far in distances:
        middle = (low + high) // 2
        keep, give = slice(low, middle), slice(middle, high)
        if p.rank & far:
            keep, give = give, keep
        yield p.rank ^ far, keep, give
        low, high = keep.start, keep.stop


def _halve(p, blocks, combine, distances):
    """ReduceScatter among as many ranks as there are blocks, a power of two: afterwards one block
    holds what theirs make together. Each step sends the half that is the partner's to keep."""
    for partner, keep, give in _halves(p, len(blocks), distances):
        mine = np.concatenate(blocks[keep])
        combine(mine, p.send_recv(np.concatenate(blocks[give]), partner, mine, partner))
        spread(mine, blocks[keep])


def _double(p, blocks, distances):
    """AllGather among as many ranks as there are blocks: ``_halve``'s steps backwards."""
    for partner, keep, give in reversed(list(_halves(p, len(blocks), distances))):
        like = np.concatenate(blocks[give])
        arrived = p.send_recv(np.concatenate(blocks[keep]), partner, like, partner)
        spread(arrived, blocks[give])


def all_reduce_halving(p, blocks, combine):
    """Halving, then doubling (Rabenseifner): the ring's bytes in 2·log₂P steps. ``blocks`` are the
    chunks for as many ranks as the core has.

    The nearest rank is the partner for the halves, rank XOR 2 for the quarters and so on, so that
    most bytes go the shortest way; a rank is left with the chunk whose number is its own with the
    bits reversed.
    """
    near_first = [1 << k for k in range(_core(p).bit_length() - 1)]
    if _fold(p, blocks, combine):
        _halve(p, blocks, combine, near_first)
        _double(p, blocks, near_first)
    _unfold(p, blocks)


def reduce_scatter(p, blocks, combine):
    """Halving, with the furthest rank first: so a rank is left with its own block. Where P is no
    power of two, an AllReduce by halving and doubling is folded round it: every rank then picks its
    block."""
    if _core(p) == p.size:
        _halve(p, blocks, combine, [p.size >> k for k in range(1, p.size.bit_length())])
        return
    whole = np.concatenate(blocks)
    all_reduce_halving(p, chunks(whole, _core(p)), combine)
    spread(whole, blocks)


def all_gather(p, blocks):
    """Doubling, counted from the rank itself: after step k a rank holds the blocks of the 2ᵏ⁺¹
    ranks from its own on. The last step sends only what is still missing. Blocks are of one
    size."""
    n = len(blocks[0])
    mine = np.empty_like(blocks[0], shape=(p.size, n))
    mine[0] = blocks[p.rank]
    have = 1
    while have < p.size:
        count = min(have, p.size - have)
        to, source = (p.rank - have) % p.size, (p.rank + have) % p.size
        arrived = p.send_recv(mine[:count], to, mine[have : have + count], source)
        mine[have : have + count] = arrived
        have += count
    for i in range(p.size):
        blocks[(p.rank + i) % p.size][...] = mine[i]


def all_to_all(p, out, into):
    """Bruck's: in step k all blocks whose distance has bit k go 2ᵏ ranks further, so that a block
    reaches a rank d away in as many hops as d has ones. ⌈log₂P⌉ messages in place of P − 1, and
    about P/2·log₂P blocks in place of P − 1. Blocks are of one size."""
    n = len(out[0])
    held = np.empty_like(out[0], shape=(p.size, n))  # held[d]: the block that has d to go
    for d in range(p.size):
        held[d] = out[(p.rank + d) % p.size]
    far = 1
    while far < p.size:
        go = [d for d in range(p.size) if d & far]
        to, source = (p.rank + far) % p.size, (p.rank - far) % p.size
        held[go] = p.send_recv(held[go], to, held[go], source)
        far *= 2
    for d in range(p.size):
        into[(p.rank - d) % p.size][...] = held[d]
