"""Hopper's asynchronous machinery, emulated: mbarriers, the bulk copy engine and wgmma.

What is under way is in nobody's hands: the target of a copy is poisoned until its barrier's phase
ends, accumulators are poisoned until their group has been waited for, and an operand that changes
between a wgmma and the wait for it is an error.
"""

import numpy as np

from .intrinsics import READ, _note, _span
from .machine import LIBRARY, SimulationError, current, meet

LIBRARY.add(__file__)

MOST_POLLS = 20_000  # of one wait for an mbarrier
LINE = 128  # bytes: the width of a swizzled tile


class Barrier:
    """An mbarrier: a phase ends when ``count`` have arrived and all bytes expected have come."""

    def __init__(self, count):
        self.count = self.missing = count
        self.maker, self.epoch = current(), current().block.barriers
        self.expected, self.phases, self.copies = 0, 0, []

    def arrive(self, nbytes=0):
        if self.missing == 0:
            self.settle()
        if self.missing == 0:
            raise SimulationError(f"more than {self.count} arrivals in one phase of an mbarrier")
        self.missing -= 1
        self.expected += nbytes

    def copy(self, place, data):
        place[...] = 0xFF
        self.copies.append((place, data))

    def settle(self):
        """End the phase if nothing is missing. Called as late as can be: when somebody looks."""
        if self.missing or self.expected != sum(data.size for _, data in self.copies):
            return
        for place, data in self.copies:
            place[...] = data
        self.missing, self.expected, self.copies = self.count, 0, []
        self.phases += 1

    def ended(self, parity):
        """Whether the phase of a parity has ended."""
        self.settle()
        return self.phases % 2 != parity


def _barriers():
    block = current().block
    if not hasattr(block, "mbarriers"):
        block.mbarriers = {}
    return block.mbarriers


def _place(array, index):
    flat, index = _span(array, index, 1, 8)
    return flat.ctypes.data + index * flat.itemsize


def start(array, index, count):
    """Make the element of a uint64 array an mbarrier."""
    _barriers()[_place(array, index)] = Barrier(int(count))


def barrier(array, index):
    """The mbarrier at an element."""
    found = _barriers().get(_place(array, index))
    if found is None:
        raise SimulationError(f"element {int(index)} is no mbarrier yet")
    thread = current()
    if found.maker is not thread and found.epoch == thread.block.barriers:
        raise SimulationError(f"{found.maker} made an mbarrier; no barrier of the block since then")
    return found


def wait_phase(array, index, parity):
    """Wait until the phase of that parity has ended."""
    one, lane = barrier(array, index), 1 << current().lane
    for _ in range(MOST_POLLS):
        if one.ended(int(parity)):
            return
        meet("mbarrier", lane, None, None)  # a turn for the others
    raise SimulationError(f"{current()} waits for a phase of an mbarrier that does not end")


def copy_box(target, to, source, column, row, plane, array, index, rows, columns):
    """Begin to copy source[plane, row : row + rows, column : column + columns] into a swizzled tile
    of lines of 128 bytes; zeros where it leaves the source."""
    itemsize = target.itemsize
    if columns * itemsize != LINE:
        raise SimulationError(
            f"a box {columns} elements wide; a swizzled line has {LINE // itemsize}"
        )
    flat, to = _span(target, to, rows * columns, 1024)
    whole, _ = _span(source, 0, 0, 16)
    planes, height, width = source.shape
    column, row, plane = int(column), int(row), int(plane)
    box = np.zeros((rows, columns), f"u{itemsize}")
    down, right = max(min(height - row, rows), 0), max(min(width - column, columns), 0)
    if down and right and plane < planes:
        base = whole.view(box.dtype).reshape(source.shape)
        box[:down, :right] = base[plane, row : row + down, column : column + right]
        for i in range(down):
            _note(source, (plane * height + row + i) * width + column, right * itemsize, READ)
    lines = box.view(np.uint8).reshape(rows, LINE // 16, 16)
    chunk = np.arange(LINE // 16) ^ (np.arange(rows)[:, None] % 8)
    data = np.empty_like(lines)
    data[np.arange(rows)[:, None], chunk] = lines
    place = flat[to : to + rows * columns].view(np.uint8)
    barrier(array, index).copy(place, data.reshape(-1))


def operand(array, index, lines, dtype, k_major, stride):
    """(matrix (lines, 16), the memory that it lies in, where each element lies there) of a swizzled
    operand whose lines run along k or else across it, 64 at a time, ``stride`` bytes apart."""
    flat, index = _span(array, index, 1, 16)
    row, k = np.arange(lines)[:, None], np.arange(16)
    if k_major:
        at = row // 8 * 1024 + row % 8 * LINE + k * 2
    else:
        at = row // 64 * stride + k // 8 * 1024 + k % 8 * LINE + row % 64 * 2
    at = at + index * flat.itemsize
    at = (at ^ (at >> 7 & 7) << 4) // 2
    memory = flat.view(dtype)
    return memory[at], memory, at


def touch(array, index, lines, k_major, stride):
    """Note that the warp reads an operand, each lane its share: of a line of 128 bytes the 32 that
    hold 16 steps of k, or where lines run across k, all."""
    flat, index = _span(array, index, 1, 16)
    lane, itemsize = current().lane, flat.itemsize
    if k_major:
        for row in range(lane, lines, 32):
            at = index * itemsize + row * LINE
            _note(array, (at ^ (at >> 7 & 7) << 4) // 32 * 32 // itemsize, 32, READ)
    else:
        for row in range(lane, lines // 4, 32):
            at = index * itemsize + row // 16 * stride + row % 16 * LINE
            _note(array, at // itemsize, LINE, READ)


def product(given, A, B, warp):
    """{lane: (accumulators, what was read)} of a warp of a warpgroup."""
    rows = slice(16 * warp, 16 * warp + 16)
    return product_of_rows(
        given, A[0][rows].astype(np.float32), B, [(A[1], A[2][rows], A[0][rows])]
    )


def product_of_rows(given, A, B, used):
    """The same of the warp's own rows of A, (16, 16) float32, read from ``used``."""
    D = A @ B[0].astype(np.float32).T  # (16, columns)
    used = [*used, (B[1], B[2], B[0])]
    out = {}
    for lane, before in given.items():
        g, p = lane // 4, 2 * (lane % 4)
        # (2, columns / 8, 2) -> (columns / 8, 2, 2)
        own = D[[g, g + 8]].reshape(2, -1, 8)[:, :, p : p + 2].swapaxes(0, 1)
        out[lane] = before + own.reshape(-1), used if lane == 0 else []
    return out


class Flight:
    """What a thread's wgmmas are working on."""

    def __init__(self):
        self.groups, self.open, self.fenced = [], [], False


def flight():
    thread = current()
    block = thread.block
    if not hasattr(block, "flights"):
        block.flights = {}
    return block.flights.setdefault(thread.rank, Flight())


def fence():
    flight().fenced = True


def issue(accumulators, result, used):
    """Let a wgmma take off: its result, and [(the flat array, indices, values)] that it reads."""
    mine = flight()
    mine.open.append((accumulators, result, used))
    accumulators[...] = np.nan


def latest(accumulators):
    """What is, or will be, in the accumulators. Raises SimulationError without a fence."""
    mine = flight()
    for entry in [*(e for group in mine.groups for e in group), *mine.open][::-1]:
        if entry[0] is accumulators:
            return entry[1]
    if not mine.fenced:
        raise SimulationError("wgmma without a fence after ordinary code had its registers")
    return accumulators.copy()


def commit():
    mine = flight()
    mine.groups.append(mine.open)
    mine.open = []


def wait(left):
    mine = flight()
    done = max(len(mine.groups) - left, 0)
    for group in mine.groups[:done]:
        for accumulators, result, used in group:
            for flat, at, values in used:
                if not np.array_equal(flat[at].view(np.uint16), values.view(np.uint16)):
                    raise SimulationError("shared memory changed while wgmma was reading it")
            accumulators[...] = result
    del mine.groups[:done]
    for group in mine.groups:  # what is still being added to stays out of reach
        for accumulators, _, _ in group:
            accumulators[...] = np.nan
    mine.fenced = mine.fenced and bool(mine.groups)
