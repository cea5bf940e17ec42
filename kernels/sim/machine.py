"""The machine: blocks one after the other, and in a block each thread until it has to wait.

A thread is a greenlet. It runs alone until it waits at a barrier or for the other lanes of its
warp; then the next one runs. When none can go on, whoever has met is let go, so that the order, and
with it every result, is the same in each run.
"""

import bisect
import contextvars
import dis
import itertools
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from greenlet import GreenletExit, getcurrent, greenlet

WARP = 32
INTEGERS = (int, np.integer)
MOST_THREADS = 1024  # in a block
MOST_SHARED = 48 * 1024  # bytes of shared memory that a kernel may declare
MOST_DYNAMIC = 227 * 1024  # bytes that a launch may ask for besides
MOST_GROUPS = 3  # of threads that a message tells apart


class SimulationError(RuntimeError):
    """A kernel did what a GPU would not survive, or would silently get wrong."""


class Deadlock(SimulationError):
    """Threads wait for others that never come. ``kinds`` and ``sites``: of what they wait for, each
    once, and where."""

    def __init__(self, message, kinds, sites):
        super().__init__(message)
        self.kinds, self.sites = kinds, sites


class Dim3(NamedTuple):
    """A size or a place in three dimensions."""

    x: int
    y: int = 1
    z: int = 1


MOST_BLOCK, MOST_GRID = Dim3(1024, 1024, 64), Dim3(2**31 - 1, 65535, 65535)


class Site(NamedTuple):
    """An instruction of a kernel: a code object and an offset in its bytecode."""

    code: object
    offset: int

    @property
    def line(self):
        """The line of source that it stands on."""
        for start, end, line in self.code.co_lines():
            if start <= self.offset < end:
                return line

    def __str__(self):
        return f"{self.code.co_filename}:{self.line}"


_sites = {}  # {(id of a code object, offset): Site}; the code lives on in the Site


def site_of(frame):
    """Where a frame stands now."""
    key = id(frame.f_code), frame.f_lasti
    site = _sites.get(key)
    if site is None:
        # The interpreter may stand anywhere in an instruction's inline cache: go to its beginning.
        starts = [each.offset for each in dis.get_instructions(frame.f_code)]
        offset = starts[bisect.bisect(starts, frame.f_lasti) - 1]
        whole = id(frame.f_code), offset
        site = _sites[key] = _sites.setdefault(whole, Site(frame.f_code, offset))
    return site


class Waiting(NamedTuple):
    """What a thread waits for: ``kind`` of meeting, which lanes take part (a mask, or None for the
    block), what it brings, and where in the source it stands."""

    kind: str
    mask: int | None
    value: object
    solve: object  # {lane: value} -> {lane: answer}, the same for all that meet
    site: Site


class Thread:
    """A thread of a block, and what it waits for."""

    __slots__ = (
        "answer",
        "block",
        "copies",
        "greenlet",
        "lane",
        "rank",
        "waiting",
        "warp",
        "x",
        "y",
        "z"
    )  # fmt: skip

    def __init__(self, block, rank, place):
        self.block, self.rank = block, rank
        self.x, self.y, self.z = place
        self.warp, self.lane = divmod(rank, WARP)
        self.waiting = self.answer = None
        self.copies = []  # groups of asynchronous copies that are under way

    def __str__(self):
        return f"thread {(self.x, self.y, self.z)} of block {tuple(self.block.index)}"


class State:
    """Which thread runs now; None outside of kernels."""

    thread = None


state = State()


def current():
    """The thread that runs now. Raises RuntimeError outside of a kernel."""
    if state.thread is None:
        raise RuntimeError(
            "this name has a meaning inside a kernel only; launch it: kernel[grid, block](…)"
        )
    return state.thread


HERE = Path(__file__).parent
INSTRUCTIONS = [HERE.parent / name for name in ("_cuda.py", "ptx.py", "hopper.py")]
LIBRARY = {str(file) for file in (*HERE.glob("*.py"), *INSTRUCTIONS)}
"""Files that are no kernel's: who called them is."""


def caller():
    """The frame of the kernel, or of its device function, that called into the library."""
    frame = sys._getframe(2)
    while frame.f_code.co_filename in LIBRARY and frame.f_back is not None:
        frame = frame.f_back
    return frame


def meet(kind, mask, value, solve):
    """Wait until all lanes of the mask (None: all threads of the block) have come here; the answer
    that ``solve`` has for this one."""
    thread = current()
    thread.waiting = Waiting(kind, mask, value, solve, site_of(caller()))
    thread.block.hub.switch()
    return thread.answer


class Block:
    """A block of threads with its shared memory."""

    def __init__(self, index, grid, size, dynamic=0, watcher=None):
        self.index, self.grid, self.size = index, grid, size
        self.dynamic, self.watcher = dynamic, watcher
        self.shared = {}  # {site: array}
        self.shared_bytes = 0
        self.barriers = 0  # how many all threads have passed
        places = itertools.product(range(size.z), range(size.y), range(size.x))
        self.threads = [Thread(self, i, (x, y, z)) for i, (z, y, x) in enumerate(places)]
        self.warps = [self.threads[i : i + WARP] for i in range(0, len(self.threads), WARP)]
        self.syncs = [0] * len(self.warps)  # how often lanes of each warp have met at syncwarp
        self.masks = [[] for _ in self.warps]  # which

    def run(self, function, args):
        """Run the kernel's function in every thread, until all are done."""
        self.hub, self.name = getcurrent(), function.__name__
        for thread in self.threads:
            thread.greenlet = greenlet(function)
            thread.greenlet.gr_context = contextvars.copy_context()  # NumPy's error state is in it
        ready, start = self.threads, True
        try:
            while ready:
                for thread in ready:
                    state.thread = thread
                    if self.watcher is not None:
                        self.watcher.turn(thread)
                    self._resume(thread, args if start else ())
                ready, start = self._released(), False
        finally:
            state.thread = None
            for thread in self.threads:
                if thread.greenlet and not thread.greenlet.dead:
                    thread.greenlet.throw(GreenletExit)

    def _resume(self, thread, args):
        try:
            thread.greenlet.switch(*args)
        except Exception as error:
            error.add_note(f"in {self.name}, {thread}, at {_place(error)}")
            raise
        if thread.greenlet.dead and any(group for _, group in thread.copies):
            raise SimulationError(
                f"{thread} ends with asynchronous copies that it has not waited for"
            )

    def _released(self):
        """The threads that can go on, once none is running."""
        alive = [thread for thread in self.threads if not thread.greenlet.dead]
        released = []
        for warp in self.warps:
            released += self._meeting(warp)
        if released or not alive:
            return released
        first = alive[0].waiting
        if any(each.waiting.mask is not None or each.waiting.site != first.site for each in alive):
            self._stuck(alive)
        self.barriers += first.kind == "barrier"
        if len(alive) < len(self.threads) and self.watcher is not None:
            self.watcher.left.setdefault(first.site, (self.watcher.blocks, self._ended()))
        return self._answered(alive)

    def _meeting(self, warp):
        """The lanes of a warp that have all met, with their answers; or none."""
        for thread in warp:
            waiting = thread.waiting
            if waiting is None or waiting.mask is None or thread.greenlet.dead:
                continue
            if not waiting.mask >> thread.lane & 1:
                raise SimulationError(
                    f"{thread} is lane {thread.lane}, which its own mask {waiting.mask:#x} at "
                    f"{waiting.site} leaves out"
                )
            others = [each for each in warp if waiting.mask >> each.lane & 1]
            if all(
                not each.greenlet.dead
                and each.waiting is not None
                and each.waiting[:2] == waiting[:2]
                and each.waiting.site == waiting.site
                for each in others
            ):
                return self._answered(others)
        return []

    def _answered(self, threads):
        waiting = threads[0].waiting
        if waiting.kind == "syncwarp":
            self._synced(threads[0].warp, waiting.mask)
        answers = {}
        if waiting.solve is not None:
            answers = waiting.solve(
                {
                    each.lane if waiting.mask is not None else each.rank: each.waiting.value
                    for each in threads
                }
            )
        for each in threads:
            each.answer = answers.get(each.lane if waiting.mask is not None else each.rank)
            each.waiting = None
        return threads

    def _synced(self, warp, mask):
        """Lanes of a warp have met to see what the others wrote."""
        self.syncs[warp] += 1
        self.masks[warp].append(mask)
        if mask != (1 << len(self.warps[warp])) - 1 and self.watcher is not None:
            self.watcher.partial[self.watcher.blocks, warp] = self.masks[warp]

    def _ended(self):
        """The ranks of the threads that are done."""
        return [thread.rank for thread in self.threads if thread.greenlet.dead]

    def _stuck(self, alive):
        """Raise the Deadlock of those who wait."""
        groups = {}
        for thread in alive:
            kind, mask, *_, site = thread.waiting
            groups.setdefault((kind, mask is None, site), []).append(thread.rank)
        told = [
            f"{ranks_in_words(ranks)} wait{'s' * (len(ranks) == 1)} at {site} for "
            f"{'the block' if whole else 'the warp'} ({kind})"
            for (kind, whole, site), ranks in [*groups.items()][:MOST_GROUPS]
        ]
        if len(groups) > MOST_GROUPS:
            told.append(f"others at {len(groups) - MOST_GROUPS} more places")
        if ended := self._ended():
            told.append(f"{ranks_in_words(ended)} {'has' if len(ended) == 1 else 'have'} ended")
        (x, y, z), (wide, high, _) = self.index, self.grid
        raise Deadlock(
            f"no thread of block {x + wide * (y + high * z)} can go on: {'; '.join(told)}",
            [*dict.fromkeys(kind for kind, _, _ in groups)],
            [*dict.fromkeys(site for _, _, site in groups)],
        )


def ranks_in_words(ranks):
    """ "threads 0 to 15" for such numbers of threads in a block, in rising order."""
    runs = []
    for rank in ranks:
        if runs and rank == runs[-1][1] + 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    if len(runs) > MOST_GROUPS:
        return f"{len(ranks)} threads ({', '.join(map(str, ranks[:3]))} …)"
    told = [f"{first}" if first == last else f"{first} to {last}" for first, last in runs]
    return f"thread{'s' * (len(ranks) > 1)} {' and '.join(told)}"


def _place(error):
    """The last line of a kernel in an error's traceback."""
    place, traceback = "?", error.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if file not in LIBRARY:
            place = f"{file}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place


def dim3(value, what):
    """A Dim3 of an integer or a tuple of one to three. Raises ValueError."""
    sizes = (value,) if not isinstance(value, (tuple, list)) else tuple(value)
    if not 1 <= len(sizes) <= 3 or not all(
        isinstance(size, INTEGERS) and size is not True and size >= 1 for size in sizes
    ):
        raise ValueError(f"{what} is {value!r}; expected one to three integers of at least 1")
    return Dim3(*(int(size) for size in sizes))


def sizes(grid, block, dynamic=0, most_threads=MOST_THREADS):
    """(grid, block) of a launch as Dim3. Raises ValueError for what no GPU takes, or the kernel."""
    grid, block = dim3(grid, "grid"), dim3(block, "block")
    threads = block.x * block.y * block.z
    if threads > most_threads:
        who = "a GPU" if most_threads == MOST_THREADS else "this kernel"
        raise ValueError(f"block {tuple(block)} has {threads} threads; {who} takes {most_threads}")
    for what, size, most in (("block", block, MOST_BLOCK), ("grid", grid, MOST_GRID)):
        if any(n > limit for n, limit in zip(size, most)):
            raise ValueError(f"{what} is {tuple(size)}; a GPU takes at most {tuple(most)}")
    if not 0 <= dynamic <= MOST_DYNAMIC:
        raise ValueError(
            f"{dynamic:,} bytes of dynamic shared memory; a block may have {MOST_DYNAMIC:,}"
        )
    return grid, block


def launch(function, grid, block, args, dynamic=0, watcher=None):
    """Run a function as a kernel, on every thread of every block or until the watcher has seen
    enough. Its arguments are Arrays and numbers, grid and block Dim3."""
    with np.errstate(all="ignore"):  # a GPU has no floating-point warnings
        for z, y, x in itertools.product(range(grid.z), range(grid.y), range(grid.x)):
            if watcher is not None:
                watcher.begin_block()
            Block(Dim3(x, y, z), grid, block, dynamic, watcher).run(function, args)
            if watcher is not None and watcher.end_block():
                return
