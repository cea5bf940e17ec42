"""Watching kernels at work on the simulator: what they read and write, how, and whether they race.

    report = watch(kernel[grid, block], x, y, out)   # one launch
    print(report)

    with watching() as reports:                      # every launch inside, whoever makes it
        softmax(x)

A warp's lanes at one instruction make one **request**. Global memory answers it by **sectors** of
32 bytes. Shared memory answers it in one **wavefront**, or where lanes want different words of one
of its 32 banks, in several. Pictures of a report are drawn by pictures.py.
"""

import contextlib
import functools
import html
import linecache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kernels import _cuda
from kernels.sim import races, requests
from kernels.sim.machine import WARP
from kernels.sim.trace import ATOMIC, COPY, LANDED, READ, WRITE, Watcher

WAYS = {"reads": (READ, ATOMIC), "writes": (WRITE, ATOMIC, COPY)}
NAMES = {READ: "reads", WRITE: "writes", ATOMIC: "changes", COPY: "copies into"}


def watch(launch, *args):
    """Run ``kernel[grid, block]`` on NumPy arrays, and return the Report of it. Races are told in
    the report; what the simulator finds wrong is raised as it is without watching. Raises TypeError
    for arrays on a GPU, which nobody can watch."""
    with watching() as reports:
        launch(*args)
    if not reports:
        raise TypeError("this launch ran on a GPU; to watch it, give it NumPy arrays")
    return reports[0]


@contextlib.contextmanager
def watching(simulate=_cuda.simulate):
    """Watch each launch on the simulator inside; gives the list that their Reports are put on.
    ``simulate(launch, args, watcher)`` runs one of them."""
    reports = []

    def run(launch, args):
        watcher = Watcher()
        report = Report(launch, args, watcher)
        try:
            simulate(launch, args, watcher)
        except Exception as error:
            report.error = error
            raise
        finally:
            reports.append(report)

    _cuda.observers.append(run)
    try:
        yield reports
    finally:
        _cuda.observers.remove(run)


class Traffic(NamedTuple):
    """Accesses of some kind, summed up.

    count: accesses, one for each thread and instruction; bytes: those that they ask for; requests:
    of warps; transfers: sectors of global memory or wavefronts of shared memory; used: bytes of the
    sectors that were asked for; conflicts: wavefronts for bank conflicts; per_thread: accesses of
    each thread, (blocks, threads of a block).
    """

    count: int
    bytes: int
    requests: int
    transfers: int
    used: int
    conflicts: int
    per_thread: np.ndarray


class Line(NamedTuple):
    """What a line of the source does to an array: its file, number and text, the array's name and
    space, the way ("reads", "writes" …), the Traffic, and the lanes that are not idle, a request
    on average."""

    file: str
    number: int
    source: str
    memory: str
    space: str
    way: str
    traffic: Traffic
    lanes: float


class Report:
    """What one launch did. Its ``kernel``, ``grid``, ``block``, ``shared`` (bytes of dynamic shared
    memory) and ``args`` say which it was; ``error`` what it raised, or None."""

    def __init__(self, launch, args, watcher):
        self.kernel, self.grid, self.block = launch.kernel, launch.grid, launch.block
        self.shared, self.args = launch.shared, tuple(args)
        self.watcher, self.error = watcher, None

    @functools.cached_property
    def accesses(self):
        """All accesses: {field: int64 array}; see sim/trace.py."""
        return self.watcher.accesses()

    @functools.cached_property
    def races(self):
        """The races, one for each pair of places in the source, at most 8."""
        return races.find(self.watcher, self.accesses)

    @functools.cached_property
    def unwritten(self):
        """Reads of shared and local memory that nobody had written, one for each place in the
        source."""
        return races.unwritten(self.watcher, self.accesses)

    @functools.cached_property
    def requests(self):
        """(number of the request of each access, how many there are)."""
        return requests.group(self.accesses)

    @functools.cached_property
    def transfers(self):
        """For each request: sectors or wavefronts, bytes of the sectors that were asked for,
        wavefronts for conflicts; (3, requests)."""
        rows, (number, count) = self.accesses, self.requests
        shared, starts = self._of_memories(lambda memory: (memory.space == "shared", memory.start))
        offset, out = rows["offset"] + starts, np.zeros((3, count), np.int64)
        mine = np.flatnonzero(shared & (rows["kind"] != LANDED))
        if len(mine):
            lane = rows["thread"][mine] % WARP
            out[::2] += requests.wavefronts(
                number[mine], count, lane, offset[mine], rows["size"][mine]
            )
        mine = np.flatnonzero(shared == 0)
        if len(mine):
            out[:2] += requests.sectors(number[mine], count, offset[mine], rows["size"][mine])
        return out

    def _of_memories(self, ask):
        """What ``ask(memory)`` tells of the Memory of each access: one array for each number."""
        told = np.array([ask(memory) for memory in self.watcher.memories], np.int64)
        return told[self.accesses["array"]].T if len(told) else np.zeros((2, 0), np.int64)

    def traffic(self, space, way, line=None, memory=None):
        """The Traffic of "global" or "shared" memory by "reads" or "writes" (an atomic operation is
        both), of one line of the source or one array (its name) if given."""
        right, _ = self._of_memories(
            lambda each: (each.space == space and memory in (None, each.name), 0)
        )
        mine = (right == 1) & np.isin(self.accesses["kind"], WAYS[way])
        if line is not None:
            lines = np.array([site.line == line for site in self.watcher.sites], bool)
            mine &= lines[self.accesses["site"]]
        return self._summed(np.flatnonzero(mine))

    def _summed(self, mine):
        rows = self.accesses
        blocks, threads = int(np.prod(self.grid)), int(np.prod(self.block))
        who = rows["block"][mine] * threads + rows["thread"][mine]
        once = np.unique(self.requests[0][mine])
        per_thread = np.bincount(who, minlength=blocks * threads).reshape(blocks, threads)
        sums = map(int, self.transfers[:, once].sum(axis=1))
        return Traffic(len(mine), int(rows["size"][mine].sum()), len(once), *sums, per_thread)

    @functools.cached_property
    def global_reads(self):
        """The Traffic of all reads of global memory."""
        return self.traffic("global", "reads")

    @functools.cached_property
    def global_writes(self):
        """The Traffic of all writes to global memory."""
        return self.traffic("global", "writes")

    @functools.cached_property
    def shared_reads(self):
        """The Traffic of all reads of shared memory."""
        return self.traffic("shared", "reads")

    @functools.cached_property
    def shared_writes(self):
        """The Traffic of all writes to shared memory."""
        return self.traffic("shared", "writes")

    @functools.cached_property
    def lines(self):
        """A Line for each line of the source, array and way: the kernel's file in the order of its
        lines, then others by their names."""
        rows, sites = self.accesses, self.watcher.sites
        own = self.kernel.function.__code__.co_filename
        whole = sorted(
            {(site.code.co_filename, site.line) for site in sites},
            key=lambda place: (place[0] != own, Path(place[0]).name, *place),
        )
        number = np.array([whole.index((site.code.co_filename, site.line)) for site in sites])
        if not len(rows["site"]):
            return []
        order, first = requests.runs(
            requests.packed(number[rows["site"]], rows["kind"], rows["array"])
        )
        out = []
        for mine in np.split(order, first[1:]):
            kind = int(rows["kind"][mine[0]])
            if kind != LANDED:
                file, line = whole[number[rows["site"][mine[0]]]]
                memory = self.watcher.memories[rows["array"][mine[0]]]
                traffic = self._summed(mine)
                source = linecache.getline(file, line).strip()
                lanes = traffic.count / traffic.requests
                out.append(
                    Line(file, line, source, memory.name, memory.space, NAMES[kind], traffic, lanes)
                )
        return out

    @property
    def divergence(self):
        """The share of lanes that were idle when their warp read or wrote: 0 where all go together,
        31/32 where each goes alone."""
        threads = int(np.prod(self.block))
        rows, (number, count) = self.accesses, self.requests
        if not count:
            return 0.0
        there = np.zeros(count, np.int64)  # lanes of the warp of each request
        there[number] = np.minimum(WARP, threads - rows["thread"] // WARP * WARP)
        return float(1 - len(number) / there.sum())

    def __str__(self):
        return "\n".join(_told(self))

    def _repr_html_(self):
        return f"<pre>{html.escape(str(self))}</pre>"


def _told(report):
    """The lines of a report as text."""
    blocks, threads = int(np.prod(report.grid)), int(np.prod(report.block))
    yield (
        f"{report.kernel.__name__}: {_count(blocks, 'block')} of {_count(threads, 'thread')}, "
        f"{report.divergence:.0%} of the lanes idle"
    )
    yield ""
    head = ("line", "source", "does", "times", "bytes", "requests", "a request moves", "lanes")
    file = report.kernel.function.__code__.co_filename
    table = [head, *(_row(line, file) for line in report.lines)]
    widths = [max(map(len, column)) for column in zip(*table)]
    right = {0, 3, 4, 5, 7}
    before = None
    for row in table:  # what several rows are about is said once
        cells = ["", "", *row[2:]] if row[:2] == before else row
        before = row[:2]
        yield "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths))
        ).rstrip()
    yield ""
    for space in ("global", "shared"):
        reads, writes = report.traffic(space, "reads"), report.traffic(space, "writes")
        yield f"{space} memory: {reads.bytes:,} bytes read, {writes.bytes:,} bytes written"
    yield from (f"RACE {race}" for race in report.races)
    yield from (f"UNWRITTEN {read}" for read in report.unwritten)


def _row(line, file):
    """The cells of a Line; the file is only named where it is another."""
    traffic, per = line.traffic, line.traffic.transfers / line.traffic.requests
    if line.space == "global":
        used = traffic.used / (traffic.transfers * requests.SECTOR)
        moves = f"{_count(per, 'sector')}, {used:.0%} used"
    else:
        moves = _count(per, "wavefront")
        if traffic.conflicts:
            moves += f", {traffic.conflicts / traffic.requests:.3g} for bank conflicts"
    number = f"{line.number}" if line.file == file else f"{Path(line.file).name}:{line.number}"
    what = f"{line.way} {line.memory}" + " (shared)" * (line.space == "shared")
    source = line.source if len(line.source) <= 44 else line.source[:43] + "…"
    return (
        number, source, what, f"{traffic.count:,}",
        f"{traffic.bytes:,}", f"{traffic.requests:,}", moves, f"{line.lanes:.3g}",
    )  # fmt: skip


def _count(number, what):
    number = f"{number:,.1f}".removesuffix(".0")
    return f"{number} {what}" + ("" if number == "1" else "s")
