"""Races: two threads at one address, one of them writing, and nothing that puts them in order.

What puts two accesses in order is a barrier of the block, or within a warp a ``syncwarp`` of both
lanes. (Shuffles and votes exchange values, and order no memory.) Blocks come in any order. Memory
that an asynchronous copy writes is nobody's until the thread that began it has waited.
"""

from typing import NamedTuple

import numpy as np

from .machine import WARP
from .requests import packed, runs, spread
from .trace import ATOMIC, KINDS, LANDED, READ

MOST = 8  # races that are told apart


class Race(NamedTuple):
    """Two accesses that may come in either order, each as (kind, thread, block, Site)."""

    memory: object
    index: tuple
    first: tuple
    second: tuple
    underway: bool = False  # the first is an asynchronous copy that the second did not await

    def __str__(self):
        def told(access):
            kind, thread, block, site = access
            return f"{kind} by thread {thread} of block {block} at {site}"

        how = " while under way" if self.underway else ""
        return f"{self.memory.name}{list(self.index)}: {told(self.first)}{how}, {told(self.second)}"


def find(watcher, accesses):
    """The races of a launch, one for each pair of sites, at most MOST."""
    found = {}
    if not len(accesses["site"]):
        return []
    _underway(watcher, accesses, found)
    items = _items(watcher, accesses)
    warp, place = items["thread"] // WARP, packed(items["array"], items["item"])
    inside = place, items["block"], items["epoch"]
    # Where only some lanes have met, which of them is asked pair by pair.
    sync = np.where(_is_partial(watcher, items["block"], warp), 0, items["sync"])
    _search(watcher, items, packed(*inside), warp, found)
    _search(watcher, items, packed(*inside, warp, sync), items["thread"], found)
    if watcher.blocks > 0:
        spaces = np.array([memory.space == "global" for memory in watcher.memories])
        everyones = np.flatnonzero(spaces[items["array"]])
        items = {field: values[everyones] for field, values in items.items()}
        _search(watcher, items, place[everyones], items["block"], found)
    return list(found.values())[:MOST]


class Unwritten(NamedTuple):
    """An element that is read before anyone has written it."""

    memory: object
    index: tuple
    reader: tuple

    def __str__(self):
        kind, thread, block, site = self.reader
        where = f"{self.memory.name}{list(self.index)}"
        return f"{where}: {kind} by thread {thread} of block {block} at {site} before any write"


def unwritten(watcher, accesses, fresh=()):
    """The first element of shared or local memory that each place in the source reads unwritten, in
    the order of the simulation; also of the arrays whose names are in ``fresh``, which nobody had
    written before the launch."""
    found = [(now, Unwritten(*read)) for now, *read in watcher.unwritten.values()]
    shared = np.array([each.space == "shared" for each in watcher.memories] or [False])
    asked = shared | np.array([each.name in fresh for each in watcher.memories] or [False])
    mine = np.flatnonzero(asked[accesses["array"]])
    if len(mine):
        rows = {field: values[mine] for field, values in accesses.items()} | {"row": mine}
        items = _items(watcher, rows)
        block = np.where(shared[items["array"]], items["block"], 0)
        order, first = runs(packed(items["array"], items["item"], block))
        early = np.sort(order[first])
        early = early[np.isin(items["kind"][early], (READ, ATOMIC))]
        _, chosen = np.unique(items["site"][early], return_index=True)
        for i in early[np.sort(chosen)][:MOST]:
            read = Unwritten(*_element(watcher, items, i), _told(watcher, items, i))
            found.append((int(items["row"][i]), read))
    return [read for _, read in sorted(found, key=lambda each: each[0])]


def _items(watcher, accesses):
    """Accesses taken apart into the smallest pieces that any access to their memory has:
    {field: array}, with "item" the piece's number."""
    array, offset, size = accesses["array"], accesses["offset"], accesses["size"]
    grain = np.ones(len(watcher.memories), np.int64)
    for number in np.unique(array):
        mine = array == number
        grain[number] = np.gcd(np.gcd.reduce(offset[mine]), np.gcd.reduce(size[mine]))
    length = size // grain[array]
    out = {field: np.repeat(values, length) for field, values in accesses.items()}
    return out | {"item": spread(offset // grain[array], length)}


def _is_partial(watcher, block, warp):
    if not watcher.partial:
        return np.zeros(len(block), bool)
    return np.isin(block << 5 | warp, [block << 5 | warp for block, warp in watcher.partial])


def _search(watcher, items, key, owner, found):
    """Keys where several owners met, one wrote, and not all were atomic."""
    if not len(key):
        return
    order, first = runs(key)
    kind, owner = items["kind"][order], owner[order]
    mixed = np.minimum.reduceat(owner, first) != np.maximum.reduceat(owner, first)
    changed = np.maximum.reduceat(kind, first) > READ
    atomic = np.minimum.reduceat(kind == ATOMIC, first)
    last = np.append(first[1:], len(order))
    for i in np.flatnonzero(mixed & changed & ~atomic):
        _tell(watcher, items, order[first[i] : last[i]], owner[first[i] : last[i]], found)
        if len(found) >= MOST:
            return


def _in_order(watcher, items, a, b):
    """Whether meetings of some lanes of a warp lie between two accesses and pass from one to the
    other."""
    block, thread, other, start, end = (
        int(items[field][i])
        for field, i in (("block", a), ("thread", a), ("thread", b), ("sync", a), ("sync", b))
    )
    masks = watcher.partial.get((block, thread // WARP), ())
    if thread // WARP != other // WARP or block != items["block"][b]:
        return False
    reached = 1 << thread % WARP
    for mask in masks[start:end]:
        if mask & reached:
            reached |= mask
    return bool(reached >> other % WARP & 1)


def _tell(watcher, items, rows, owner, found):
    """A pair of rows of different owners, one of which writes."""
    kind = items["kind"][rows]
    for w in np.flatnonzero(kind != READ):
        others = np.flatnonzero((owner != owner[w]) & ~((kind == ATOMIC) & (kind[w] == ATOMIC)))
        for other in others[:64]:
            a, b = rows[min(w, other)], rows[max(w, other)]
            if not _in_order(watcher, items, a, b):
                _add(watcher, items, a, b, found)
            if len(found) >= MOST:
                return


def _add(watcher, items, a, b, found, underway=False):
    pair = tuple(sorted((int(items["site"][a]), int(items["site"][b]))))
    if pair not in found:
        told = (_told(watcher, items, i) for i in (a, b))
        found[pair] = Race(*_element(watcher, items, b), *told, underway)


def _told(watcher, items, i):
    """(kind, thread, block, Site) of an access."""
    kind, thread, block, site = (int(items[f][i]) for f in ("kind", "thread", "block", "site"))
    return KINDS[kind], thread, block, watcher.sites[site]


def _element(watcher, items, i):
    """(Memory, index) of the first element that an access touches."""
    memory = watcher.memories[items["array"][i]]
    number = int(items["offset"][i]) // memory.dtype.itemsize
    if number >= np.prod(memory.shape):  # a view of another dtype
        return memory, (number,)
    return memory, tuple(int(n) for n in np.unravel_index(number, memory.shape))


def _underway(watcher, accesses, found):
    """Accesses to bytes of a copy between its begin and its end, in the order of the simulation."""
    if not watcher.copies:
        return
    begin, end, memory, offset, size, block = np.array(watcher.copies, np.int64).T
    end = np.where(end < 0, np.iinfo(np.int64).max, end)
    here = np.flatnonzero(
        np.isin(accesses["array"], np.unique(memory)) & (accesses["kind"] != LANDED)
    )
    # Pieces of 4 bytes: no copy is smaller.
    pieces, mine = size // 4, np.maximum(accesses["size"][here] // 4, 1)
    which = np.repeat(np.arange(len(begin)), pieces)
    row = np.repeat(here, mine)
    place = [
        np.concatenate(both)
        for both in zip(
            (memory[which], block[which], spread(offset // 4, pieces)),
            (
                accesses["array"][row],
                accesses["block"][row],
                spread(accesses["offset"][here] // 4, mine),
            ),
        )
    ]
    time = np.concatenate([begin[which], row])
    copy = np.concatenate([which, np.full(len(row), -1)])
    key = packed(*place)
    # Copies come before accesses of the same time; the last one before each access is looked at.
    order = np.lexsort((copy < 0, time, key))
    key, copy, time = key[order], copy[order], time[order]
    latest = np.maximum.accumulate(np.where(copy >= 0, np.arange(len(copy)), -1))
    ok = (copy < 0) & (latest >= 0)
    ok &= key[latest] == key
    bad = np.flatnonzero(ok)
    bad = bad[time[bad] < end[copy[latest[bad]]]]
    for i in bad[:64]:
        _add(watcher, accesses, int(begin[copy[latest[i]]]) - 1, int(time[i]), found, underway=True)
