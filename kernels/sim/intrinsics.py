"""How an intrinsic is declared: its emulation is the function itself, its PTX an attribute."""

import functools
from enum import Enum
from typing import NamedTuple

import numpy as np

from .arrays import Array, Memory
from .machine import caller, current, meet
from .trace import READ, WRITE

WHOLE_WARP = 0xFFFFFFFF


class Where(Enum):
    """An operand that is an address: an array and the number of an element, two arguments."""

    SHARED = "shared"
    GLOBAL = "global"


SHARED, GLOBAL = Where.SHARED, Where.GLOBAL


class Registers(NamedTuple):
    """An operand that is a local array of ``count`` float32, which the instruction changes."""

    count: int


def intrinsic(returns, takes, asm, memory=False, pure=False):
    """Decorator: make a function an intrinsic.

    returns: the NumPy scalar types of its results; takes: those of its arguments, or SHARED or
    GLOBAL for an array and the number of an element in it; asm: PTX, {0} and so on for the results
    and then the operands. memory: it writes memory, so that no access may move across it; pure: it
    only computes, and may move anywhere.
    """

    def decorate(function):
        @functools.cache
        def native():
            from kernels import _numba

            return _numba.intrinsic(function.__name__, returns, takes, asm, memory, pure)

        function.native, function.asm = native, asm
        return function

    return decorate


def gather(kind, values, solve):
    """What ``solve`` makes of the values of all lanes of the warp, for this lane."""
    return meet(kind, WHOLE_WARP, values, solve)


def _span(array, index, count, align):
    """(the array laid flat, first element) of ``count`` elements; they must lie inside, on a
    boundary of ``align`` bytes."""
    base, origin = (array.base, array.origin) if isinstance(array, Array) else (array, 0)
    name = array.memory.name if isinstance(array, Array) else "a local array"
    if not base.flags.c_contiguous:
        raise ValueError(f"an address needs a C-contiguous array; {name} has {base.strides}")
    index = int(index)
    if not 0 <= index <= base.size - count:
        raise IndexError(
            f"elements {index} to {index + count - 1} are outside of {name}, shape {base.shape}"
        )
    if (origin + index * base.itemsize) % align:
        raise ValueError(f"element {index} of {name} is not on a boundary of {align} bytes")
    return base.reshape(-1), index


def _note(array, index, nbytes, kind):
    if isinstance(array, Array) and array.ledger is not None and nbytes:
        array.ledger.note(array.origin + index * array.itemsize, nbytes, kind, caller())


def found_at(address, base):
    """A NumPy array that begins at an address, as a kernel sees it: watched, if the launch is."""
    memory = Memory(f"the array at {address:#x}", "global", base.shape, base.dtype)
    watcher = current().block.watcher
    return Array(base, memory, 0, watcher and watcher.ledger(memory, address))


def fetched(array, index, count, align):
    """A copy of ``count`` elements, read in one access; called from an intrinsic's body."""
    flat, first = _span(array, index, count, align)
    _note(array, first, count * flat.itemsize, READ)
    return flat[first : first + count].copy()


def written(array, index, values, dtype, align):
    """Write numbers of ``dtype`` in one access, whatever the array's dtype; called from an
    intrinsic's body."""
    data = np.array(values, dtype).view(array.dtype)
    flat, first = _span(array, index, len(data), align)
    _note(array, first, data.nbytes, WRITE)
    flat[first : first + len(data)] = data


def copied(target, to, source, start, nbytes, count):
    """Begin an asynchronous copy of ``count`` of ``nbytes`` bytes, the rest zeros."""
    flat, to = _span(target, to, nbytes // target.itemsize, nbytes)
    data = np.zeros(nbytes, np.uint8)
    if count:
        origin, start = _span(source, start, count // source.itemsize, nbytes)
        _note(source, start, count, READ)
        data[:count] = origin[start : start + count // source.itemsize].view(np.uint8)
    place = flat[to : to + nbytes // flat.itemsize].view(np.uint8)
    place[...] = 0xFF  # what is under way is nobody's
    ticket = None
    if isinstance(target, Array) and target.ledger is not None:
        ticket = target.ledger.begin_copy(target.origin + to * target.itemsize, nbytes, caller())
    thread = current()
    if not thread.copies or thread.copies[-1][0]:
        thread.copies.append([False, []])
    thread.copies[-1][1].append((place, data, target, ticket))


def commit():
    """End this thread's group of copies."""
    copies = current().copies
    if copies and not copies[-1][0]:
        copies[-1][0] = True
    else:
        copies.append([True, []])


def wait(left):
    """Let all groups arrive but the last ``left``."""
    thread = current()
    done = max(len(thread.copies) - left, 0)
    for _, group in thread.copies[:done]:
        for place, data, target, ticket in group:
            place[...] = data
            if ticket is not None:
                target.ledger.end_copy(ticket)
    del thread.copies[:done]
