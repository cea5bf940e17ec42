"""Arrays as a kernel sees them: no index outside, none negative, no float among integers.

On a GPU, an index outside of its array reads or writes whatever lies there.
"""

import sys
from typing import NamedTuple

import numpy as np

from .machine import INTEGERS, SimulationError, caller, current, site_of

FLOATS = (float, np.floating)


class Memory(NamedTuple):
    """An array, wholly: its ``name``, "global", "shared" or "local", and for shared memory the byte
    of the block's shared memory at which it starts."""

    name: str
    space: str
    shape: tuple
    dtype: np.dtype
    start: int = 0


class Array:
    """A NumPy array ``base``, from byte ``origin`` of a Memory on. ``ledger`` notes its accesses;
    None while nobody watches."""

    __slots__ = (
        "_axes",
        "_integers",
        "_log",
        "_m",
        "_n",
        "_reads",
        "_s",
        "_t",
        "_writes",
        "base",
        "ledger",
        "memory",
        "origin",
    )  # fmt: skip

    def __init__(self, base, memory, origin=0, ledger=None):
        self.base, self.memory, self.origin, self.ledger = base, memory, origin, ledger
        self._axes, self._integers = base.ndim, base.dtype.kind in "iu"
        (self._n, self._m), (self._s, self._t) = (*base.shape, 0, 0)[:2], (*base.strides, 0, 0)[:2]
        self._log = None
        if ledger is not None:
            self._log = ledger.log
            self._reads, self._writes = ledger.reads(base.itemsize), ledger.writes(base.itemsize)

    size = property(lambda self: self.base.size)
    ndim = property(lambda self: self.base.ndim)
    shape = property(lambda self: self.base.shape)
    dtype = property(lambda self: self.base.dtype)
    strides = property(lambda self: self.base.strides)
    itemsize = property(lambda self: self.base.itemsize)
    flags = property(lambda self: self.base.flags)

    def __len__(self):
        return len(self.base)

    def __getitem__(self, index):
        # This runs a hundred thousand times in a small product of matrices.
        try:
            if self._axes == 1 and 0 <= index < self._n:
                offset = index * self._s
            elif self._axes == 2 and 0 <= index[0] < self._n and 0 <= index[1] < self._m:
                offset = index[0] * self._s + index[1] * self._t
            else:
                offset = self.offset(index)
            value = self.base[index]
        except (TypeError, IndexError):
            offset = self.offset(index)
        if offset is None:
            return self._part(index)
        if self._log is not None:
            frame = sys._getframe(1)
            # Bytecode lies inside its code object, so the sum tells all instructions apart.
            point = self._reads.get(id(frame.f_code) + frame.f_lasti)
            self._log(self.origin + offset)
            self._log(point or self.ledger.point(self._reads, frame))
        return value

    def __setitem__(self, index, value):
        try:
            if self._axes == 1 and 0 <= index < self._n:
                offset = index * self._s
            elif self._axes == 2 and 0 <= index[0] < self._n and 0 <= index[1] < self._m:
                offset = index[0] * self._s + index[1] * self._t
            else:
                offset = self.offset(index)
        except TypeError:
            offset = self.offset(index)
        if offset is None:
            raise SimulationError("a kernel writes one element at a time, not a slice")
        if self._integers and isinstance(value, FLOATS):
            raise TypeError(
                f"{value!r} is a {type(value).__name__} and {self.memory.name} holds "
                f"{self.base.dtype}: round it first, as with np.{self.base.dtype}(…)"
            )
        try:
            self.base[index] = value
        except IndexError:
            self.offset(index)  # says it better
            raise
        if self._log is not None:
            frame = sys._getframe(1)
            point = self._writes.get(id(frame.f_code) + frame.f_lasti)
            self._log(self.origin + offset)
            self._log(point or self.ledger.point(self._writes, frame))

    def offset(self, index):
        """How many bytes into ``base`` an element lies; None for several. Raises IndexError."""
        index = index if type(index) is tuple else (index,)
        base, name = self.base, self.memory.name
        if len(index) > base.ndim:
            raise IndexError(f"{len(index)} indices into {name}, which has {base.ndim} axes")
        offset, whole = 0, len(index) == base.ndim
        for i, size, stride in zip(index, base.shape, base.strides):
            if isinstance(i, slice):
                whole = False
            elif not isinstance(i, INTEGERS):
                raise IndexError(f"{i!r} is no index into {name}; expected an integer")
            elif not 0 <= i < size:
                told = ", ".join(str(i) for i in index)
                error = IndexError(f"[{told}] is outside of {name}, shape {base.shape}")
                error.memory = self.memory
                raise error
            else:
                offset += int(i) * stride
        return offset if whole else None

    def _part(self, index):
        """Some rows or elements, as another Array."""
        part = self.base[index]
        shift = part.__array_interface__["data"][0] - self.base.__array_interface__["data"][0]
        return Array(part, self.memory, self.origin + shift, self.ledger)


_get, _put = np.ndarray.__getitem__, np.ndarray.__setitem__


class Local(np.ndarray):
    """An array of one thread. NumPy keeps its ends; a negative index is refused here."""

    def __getitem__(self, index):
        if index.__class__ is int and index >= 0:
            return _get(self, index)
        return _get(self, _not_negative(index))

    def __setitem__(self, index, value):
        if index.__class__ is int and index >= 0:
            _put(self, index, value)
        else:
            _put(self, _not_negative(index), value)


class WatchedLocal(Local):
    """The same of a launch that is watched, which notes whether a thread reads what it has not
    written: the bytes that it began with (UNWRITTEN) are in no number that anyone computes."""

    memory = None  # none of a part of it

    def __getitem__(self, index):
        value = Local.__getitem__(self, index)
        if value.__class__ is not WatchedLocal and value != value:
            self._look(index, value)
        return value

    def _look(self, index, value):
        if self.memory is not None and value.tobytes() == UNWRITTEN[: self.itemsize]:
            thread = current()
            index = tuple(map(int, index if type(index) is tuple else (index,)))
            thread.block.watcher.note_unwritten(self.memory, index, thread, site_of(caller()))


UNWRITTEN = b"\xfe" + b"\xff" * 15


def watched_local(array, name):
    """A fresh array as a WatchedLocal. Only floats are looked at."""
    if array.dtype.kind not in "iub" and array.itemsize > 1:
        array.reshape(-1).view(np.uint8)[:: array.itemsize] = UNWRITTEN[0]
    out = array.view(WatchedLocal)
    out.memory = Memory(name, "local", array.shape, array.dtype)
    return out


def _not_negative(index):
    try:
        if (min(index) if index.__class__ is tuple else index) < 0:
            raise IndexError(f"{index} is negative; an index into a local array counts from 0")
    except TypeError:
        pass  # a slice
    return index


def arguments(names, args, watcher=None):
    """The arguments of a launch, arrays among them as a kernel sees them."""
    out = []
    for name, arg in zip(names, args):
        if isinstance(arg, np.ndarray):
            memory = Memory(name, "global", arg.shape, arg.dtype)
            arg = Array(arg, memory, 0, watcher and watcher.ledger(memory, name))
        out.append(arg)
    return out
