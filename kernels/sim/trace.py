"""What a watched kernel does to memory: every read and write, who made it, when, and where.

A thread runs alone until it waits, so all that it does in a turn is done at one time: an access is
two numbers in a log, the byte and the number of the place in the source, and who made it is written
down once a turn. NumPy puts them together afterwards.
"""

from array import array as numbers
from typing import NamedTuple

import numpy as np

from .machine import site_of

READ, WRITE, ATOMIC, COPY, LANDED = range(5)
KINDS = ("read", "write", "atomic", "asynchronous copy", "asynchronous copy")
TURN = 5  # numbers that a turn takes in its log


class Point(NamedTuple):
    """What one place in the source does to one array: which Site, Memory and kind (their numbers),
    and how many bytes at once."""

    site: int
    memory: int
    kind: int
    size: int


class Ledger:
    """A Watcher's notes on one Memory."""

    def __init__(self, watcher, number):
        self.watcher, self.number, self.log = watcher, number, watcher.log.append
        self._points = {}

    def points(self, kind, size):
        """The Points of such accesses: {place in the bytecode: number of the Point}."""
        key = kind, size
        if key not in self._points:
            self._points[key] = {None: key}
        return self._points[key]

    def reads(self, size):
        """The same for reads."""
        return self.points(READ, size)

    def writes(self, size):
        """The same for writes."""
        return self.points(WRITE, size)

    def point(self, points, frame):
        """The number of the Point at which a frame stands, which is not in ``points`` yet."""
        site = site_of(frame)
        place, here = id(frame.f_code) + site.offset, id(frame.f_code) + frame.f_lasti
        if place not in points:
            points[place] = self.watcher.add_point(site, self.number, *points[None])
        points[here] = points[place]
        return points[place]

    def note(self, offset, size, kind, frame):
        """An access of ``size`` bytes by the current thread."""
        points = self.points(kind, size)
        self.log(offset)
        self.log(points.get(id(frame.f_code) + frame.f_lasti) or self.point(points, frame))

    def begin_copy(self, offset, size, frame):
        """An asynchronous copy is under way from now on. Gives what end_copy takes."""
        self.note(offset, size, COPY, frame)
        watcher = self.watcher
        watcher.copies.append([watcher.now(), -1, self.number, offset, size, watcher.blocks])
        return watcher.copies[-1], watcher.table[watcher.log[-1]].site

    def end_copy(self, ticket):
        """It has arrived."""
        copy, site = ticket
        copy[1] = self.watcher.now()
        _, _, _, offset, size, _ = copy
        points = self.points(LANDED, size)
        if site not in points:
            points[site] = self.watcher.add_point(
                self.watcher.sites[site], self.number, LANDED, size
            )
        self.log(offset)
        self.log(points[site])


class Watcher:
    """Gathers the accesses of one launch."""

    def __init__(self):
        self.memories, self.sites, self.table = [], [], [Point(0, 0, 0, 0)]
        self.log = numbers("q")  # byte and Point of each access
        self.turns = numbers("q")  # first access, block, thread, epoch, syncs of the warp
        self.copies = []  # [access after its begin, after its end, memory, byte, bytes, block]
        self.left = {}  # {Site of a barrier: (block, ranks of threads that had ended before it)}
        self.unwritten = {}  # {Site that reads a local array too early: (now, Memory, index, who)}
        self.partial = {}  # {(block, warp): masks of its meetings} where some lanes met alone
        self.blocks = -1
        self._sites, self._ledgers = {}, {}

    def ledger(self, memory, key):
        """The Ledger of a memory. In each block the same key is the same memory."""
        if key not in self._ledgers:
            self._ledgers[key] = Ledger(self, len(self.memories))
            self.memories.append(memory)
        return self._ledgers[key]

    def add_point(self, site, memory, kind, size):
        """The number of a new Point."""
        number = self._sites.setdefault(site, len(self._sites))
        if number == len(self.sites):
            self.sites.append(site)
        self.table.append(Point(number, memory, kind, size))
        return len(self.table) - 1

    def now(self):
        """How many accesses there have been."""
        return len(self.log) // 2

    def note_unwritten(self, memory, index, thread, site):
        """A thread reads an element of a local array that it has not written."""
        who = "read", thread.rank, self.blocks, site
        self.unwritten.setdefault(site, (self.now(), memory, index, who))

    def begin_block(self):
        """Another block starts."""
        self.blocks += 1

    def end_block(self):
        """A block is done. Whether this is enough."""
        return False

    def turn(self, thread):
        """A thread goes on."""
        block = thread.block
        syncs = block.syncs[thread.warp]
        self.turns.extend((self.now(), self.blocks, thread.rank, block.barriers, syncs))

    def accesses(self):
        """All accesses in the order in which they were made: {field: int64 array}.

        array, site: numbers of the Memory and the Site; offset, size: bytes; kind; thread, block:
        who; epoch: barriers that the block, and sync: meetings that the warp had passed.
        """
        log = np.array(self.log, np.int64).reshape(-1, 2)
        turns = np.array(self.turns, np.int64).reshape(-1, TURN)
        length = np.diff(turns[:, 0], append=len(log))
        table = np.array(self.table, np.int64)[log[:, 1]]
        out = dict(zip(("site", "array", "kind", "size"), table.T), offset=log[:, 0])
        for i, field in enumerate(("block", "thread", "epoch", "sync")):
            out[field] = np.repeat(turns[:, i + 1], length)
        return out
