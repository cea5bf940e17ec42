"""Accesses as the hardware sees them: a warp's lanes at one instruction make one request."""

import numpy as np

from .machine import WARP

SECTOR = 32  # bytes that global memory moves at least
BANKS, WORD = 32, 4  # of shared memory


def packed(*columns):
    """One int64 of each row of columns of small numbers, ordered alike. Raises OverflowError."""
    key, room = np.zeros(len(columns[0]), np.int64), 1
    for column in columns:
        size = int(column.max(initial=0)) + 1
        room *= size
        if room >= 2**63:
            raise OverflowError("too many accesses to tell apart")
        key = key * size + column
    return key


def runs(key):
    """(order, first): a stable order that sorts the keys, and in it where each key begins."""
    order = np.argsort(key, kind="stable")
    sorted_ = key[order]
    fresh = np.ones(len(key), bool)
    fresh[1:] = sorted_[1:] != sorted_[:-1]
    return order, np.flatnonzero(fresh)


def spread(first, length):
    """first, first + 1 … of ``length`` numbers for each row, one after the other."""
    return np.repeat(first - length.cumsum() + length, length) + np.arange(length.sum())


def group(accesses):
    """(request of each access, number of requests): lanes of a warp at one pass over one place."""
    if not len(accesses["site"]):
        return np.zeros(0, np.int64), 0
    what = packed(accesses["site"], accesses["array"], accesses["kind"])
    # The how-manieth access of its thread at that place:
    order, first = runs(packed(accesses["block"], accesses["thread"], what))
    place = np.arange(len(order))
    pass_ = np.empty_like(place)
    pass_[order] = place - np.repeat(first, np.diff(first, append=len(order)))
    order, first = runs(packed(accesses["block"], accesses["thread"] // WARP, what, pass_))
    request = np.empty_like(place)
    request[order] = np.repeat(np.arange(len(first)), np.diff(first, append=len(order)))
    return request, len(first)


def sectors(request, count, offset, size):
    """(sectors of global memory that each request touches, bytes of them that it asks for)."""
    grain = np.gcd(np.gcd.reduce(offset), np.gcd.reduce(size))
    which, piece = _distinct(request, offset // grain, size // grain)
    asked = np.bincount(which, minlength=count) * grain
    which, _ = _distinct(which, piece * grain // SECTOR, np.ones_like(which))
    return np.bincount(which, minlength=count), asked


def _distinct(which, first, length):
    """(which, number) of the distinct numbers first, first + 1 … of each which."""
    which, number = np.repeat(which, length), spread(first, length)
    order, first = runs(packed(which, number))
    return which[order[first]], number[order[first]]


def wavefronts(request, count, lane, offset, size):
    """(passes over shared memory that each request takes, how many of them for bank conflicts).

    Lanes that want different words of one bank come one after the other. Accesses of 8 bytes go
    by half warps, those of 16 by quarters.
    """
    length = (offset + size - 1) // WORD - offset // WORD + 1
    phase = request * 4 + lane // (WARP // np.maximum(size // WORD, 1))
    which, word = _distinct(phase, offset // WORD, length)
    bank = which * BANKS + word % BANKS
    order, first = runs(bank)
    worst = np.zeros(count * 4, np.int64)
    np.maximum.at(worst, bank[order[first]] // BANKS, np.diff(first, append=len(bank)))
    worst = worst.reshape(count, 4)
    return worst.sum(axis=1), np.maximum(worst - 1, 0).sum(axis=1)
