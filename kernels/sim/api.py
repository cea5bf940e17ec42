"""What kernels call: their place, shared and local arrays, barriers, atomics, warp operations.

The names and meanings are those of ``numba.cuda``.
"""

import functools
import linecache
import re
import sys

import numpy as np

from .arrays import FLOATS, Array, Local, Memory, watched_local
from .machine import (
    INTEGERS,
    MOST_DYNAMIC,
    MOST_SHARED,
    WARP,
    SimulationError,
    current,
    meet,
    site_of,
    state,
)
from .trace import ATOMIC

warpsize = WARP
FULL = 0xFFFFFFFF
EXCHANGED = (int, float, np.int32, np.uint32, np.int64, np.uint64, np.float32)
ATOMICS = ("int32", "uint32", "int64", "uint64", "float32", "float64")


class _Place:
    """threadIdx and the like: three numbers of the thread that asks."""

    def __init__(self, of):
        self._of = of

    @property
    def x(self):
        return self._of(state.thread or current()).x

    @property
    def y(self):
        return self._of(state.thread or current()).y

    @property
    def z(self):
        return self._of(state.thread or current()).z


threadIdx = _Place(lambda thread: thread)
blockIdx = _Place(lambda thread: thread.block.index)
blockDim = _Place(lambda thread: thread.block.size)
gridDim = _Place(lambda thread: thread.block.grid)


def __getattr__(name):
    if name == "laneid":
        return current().lane
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def grid(ndim):
    """The thread's place in the whole grid: an int, or a tuple of ``ndim`` of them."""
    thread = current()
    block = thread.block
    places = [i * n + t for i, n, t in zip(block.index, block.size, (thread.x, thread.y, thread.z))]
    return places[0] if ndim == 1 else tuple(places[:ndim])


def gridsize(ndim):
    """How many threads the grid has: an int, or a tuple of ``ndim`` of them."""
    block = current().block
    sizes = [g * n for g, n in zip(block.grid, block.size)]
    return sizes[0] if ndim == 1 else tuple(sizes[:ndim])


def syncthreads():
    """Wait for all threads of the block; what they wrote before is then seen by all."""
    meet("barrier", None, None, None)


def reduced(solve, kind="barrier"):
    """A barrier that gives what ``solve`` makes of the predicates of all threads."""

    def sync(predicate):
        if not isinstance(predicate, INTEGERS) or isinstance(predicate, bool):
            raise TypeError(f"{predicate!r} is no integer; say np.int32(…) or 1 if … else 0")
        return meet(
            kind,
            None,
            bool(predicate),
            lambda given: dict.fromkeys(given, int(solve(given.values()))),
        )

    return sync


syncthreads_count = reduced(sum)
syncthreads_and = reduced(all)
syncthreads_or = reduced(any)


def syncwarp(mask=FULL):
    """Wait for the lanes of a mask."""
    meet("syncwarp", _mask(mask), None, None)


def _mask(mask):
    """The mask without lanes that the last warp of a block does not have."""
    thread = current()
    return int(mask) & ((1 << len(thread.block.warps[thread.warp])) - 1)


def _shuffle(kind, source, takes):
    """A shuffle: each lane gets the value of lane source(lane, argument), or its own."""

    def shuffle(*given):
        if len(given) != 3:
            raise TypeError(
                f"{kind}(mask, value, {takes}) takes three arguments, and {len(given)} are given"
            )
        mask, value, argument = given
        if not isinstance(argument, INTEGERS) or isinstance(argument, bool):
            raise TypeError(f"{kind}: the {takes} {argument!r} is no integer (// divides integers)")
        if not isinstance(value, EXCHANGED) or isinstance(value, bool):
            raise TypeError(
                f"{kind}: {value!r} is a {type(value).__name__}; lanes exchange numbers of 32 or "
                "64 bits"
            )

        def solve(given):
            answers = {}
            for lane, (_, argument) in given.items():
                other = source(lane, int(argument))
                other = other if 0 <= other < WARP else lane
                if other not in given:
                    raise SimulationError(
                        f"{kind}: lane {lane} reads lane {other}, which takes no part"
                    )
                answers[lane] = given[other][0]
            return answers

        return meet(kind, _mask(mask), (value, argument), solve)

    shuffle.__name__ = kind
    return shuffle


shfl_sync = _shuffle("shfl_sync", lambda lane, source: source % WARP, "lane")
shfl_up_sync = _shuffle("shfl_up_sync", lambda lane, delta: lane - delta, "distance")
shfl_down_sync = _shuffle("shfl_down_sync", lambda lane, delta: lane + delta, "distance")
shfl_xor_sync = _shuffle("shfl_xor_sync", lambda lane, bits: lane ^ bits, "bits")


def _vote(kind, result):
    def vote(mask, predicate):
        return meet(
            kind, _mask(mask), bool(predicate), lambda given: dict.fromkeys(given, result(given))
        )

    vote.__name__ = vote.__qualname__ = kind
    return vote


all_sync = _vote("all_sync", lambda given: all(given.values()))
any_sync = _vote("any_sync", lambda given: any(given.values()))
ballot_sync = _vote(
    "ballot_sync",  # an int32: lane 31 is its sign
    lambda given: sum((1 << lane) - (lane == 31) * 2**32 for lane, yes in given.items() if yes),
)


def poisoned(shape, dtype):
    """A new array full of what nobody has written: NaN, or a large odd number."""
    dtype = np.dtype(dtype)
    out = np.empty(shape, dtype)
    out.reshape(-1).view(np.uint8)[...] = 0xCB if dtype.kind in "iub" else 0xFF
    return out


unroll = range  # the compiler writes such a loop out; here it is a loop like any other


class shared:
    """Memory of a block."""

    @staticmethod
    def array(shape, dtype, alignment=None):
        """One array for all threads of the block, the same at each pass; shape 0 for the dynamic
        shared memory that the launch asked for, of which all such arrays are views."""
        block, site = current().block, site_of(sys._getframe(1))
        found = block.shared.get(site)
        if found is None:
            dynamic = shape == 0 or shape == (0,)
            make = _view_dynamic if dynamic else _make_shared
            found = block.shared[site] = make(block, site, shape, np.dtype(dtype))
        return found


def _make_shared(block, site, shape, dtype):
    out = poisoned(shape, dtype)
    start = block.shared_bytes
    block.shared_bytes = start + -(-out.nbytes // 16) * 16
    if block.shared_bytes > MOST_SHARED:
        raise SimulationError(
            f"{site}: {block.shared_bytes:,} bytes of shared memory; "
            f"a kernel may declare {MOST_SHARED:,}"
        )
    if block.shared_bytes + block.dynamic > MOST_DYNAMIC:
        raise SimulationError(
            f"{site}: {block.shared_bytes + block.dynamic:,} bytes of shared memory, the dynamic "
            f"included; a block may have {MOST_DYNAMIC:,}"
        )
    memory = Memory(_name(site, "shared"), "shared", out.shape, dtype, start)
    return Array(out, memory, 0, block.watcher and block.watcher.ledger(memory, site))


@functools.cache
def _name(site, space):
    """What the source calls the array that is made at a site."""
    line = linecache.getline(site.code.co_filename, site.line)
    named = re.match(rf"\s*(\w+) = [\w.]*{space}\.array\(", line)
    return named[1] if named else f"{space} array of line {site.line}"


def _view_dynamic(block, site, shape, dtype):
    if not block.dynamic:
        raise SimulationError(f"{site}: the launch asked for no dynamic shared memory")
    whole = block.shared.get("dynamic")
    if whole is None:
        whole = block.shared["dynamic"] = poisoned(block.dynamic, np.uint8)
        whole[...] = 0xFF
    out = whole[: len(whole) // dtype.itemsize * dtype.itemsize].view(dtype)
    memory = Memory("dynamic shared memory", "shared", out.shape, dtype)
    return Array(out, memory, 0, block.watcher and block.watcher.ledger(memory, "dynamic"))


class local:
    """Memory of a thread."""

    @staticmethod
    def array(shape, dtype, alignment=None):
        """An array for this thread alone."""
        out = poisoned(shape, dtype)
        if current().block.watcher is None:
            return out.view(Local)
        return watched_local(out, _name(site_of(sys._getframe(1)), "local"))


def _atomic(name, change):
    def atomic(array, index, *values):
        offset = array.offset(index)
        if offset is None:
            raise IndexError(f"an atomic operation takes one element of {array.memory.name}")
        floats = array.dtype.kind in "iu" and isinstance(values[-1], FLOATS)
        if array.dtype.name not in ATOMICS or floats:
            raise TypeError(
                f"an atomic operation with a {type(values[-1]).__name__} on {array.dtype}; "
                f"it takes two of a kind: {', '.join(ATOMICS)}"
            )
        if array.ledger is not None:
            offset += array.origin
            array.ledger.note(offset, array.itemsize, ATOMIC, sys._getframe(1))
        old = array.base[index]
        array.base[index] = change(old, *values)
        return old

    atomic.__qualname__ = change.__qualname__ = f"atomic.{name}"
    return atomic


class atomic:
    """Reading and writing in one step that nothing comes between; gives the old value."""

    add = staticmethod(_atomic("add", lambda old, value: old + value))
    sub = staticmethod(_atomic("sub", lambda old, value: old - value))
    max = staticmethod(_atomic("max", lambda old, value: max(old, value)))
    min = staticmethod(_atomic("min", lambda old, value: min(old, value)))
    exch = staticmethod(_atomic("exch", lambda old, value: value))
    cas = staticmethod(
        _atomic("cas", lambda old, expected, value: value if old == expected else old)
    )
