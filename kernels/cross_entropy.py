"""Cross-entropy of class indices, from logits, in one pass forward and one backward.

Forward reads the logits once, with the online softmax: each thread keeps the largest logit that it
has seen and the sum of e**(logit - largest). It saves two numbers a row, the parts of its
log-sum-exp: added up, a large offset would swallow the digits of the small one. Backward makes the
probabilities again from the logits and writes the gradient, so that no array of probabilities is
ever read or written. Vocabularies of any size will do.

    loss = (1 - s) (lse - x[target]) + s (lse - mean(x))      lse = top + rest, s the smoothing
    dx = f (e**(x - lse) - s / V - (1 - s) [target])          f = g, or g / targets that count
"""

import functools
import math

import numpy as np

from kernels import cuda
from kernels._host import ceil_div, empty, integer, namespace, number, present
from kernels._online import exp, finite, online
from kernels._rows import (
    FLOATS,
    LOWEST,
    MOST_THREADS,
    ONE,
    SMALL_BLOCK,
    WARP,
    ZERO,
    access,
    as_rows,
    flattened,
    higher,
    launch_shape,
    over_row,
    over_row_together,
    pieces,
    power_of_two,
    rows_a_block,
)

NAN = np.float32(np.nan)
AHEAD = 8  # loads under way in the kernels of one block
REDUCTIONS = "mean", "sum", "none"
MOST_TARGET = np.uint64(2**63 - 1)


@functools.cache
def make_loss(dtype, wide, W, T, V, smoothed):
    """Forward: T threads go through a row, V accesses of W elements at a time."""
    R, COUNT, STEP, WARPS = rows_a_block(T), V * W, T * V * W, max(T // 32, 1)
    read, _ = pieces(dtype, wide, T, V)
    fold, highest, totals = online(COUNT), over_row(T, higher), over_row_together(T, 2)

    @cuda.jit(fastmath=False, launch_bounds=T * R)
    def loss(logits, targets, losses, top, rest, rows, columns, ignored, smoothing):
        """logits (rows * columns); targets (rows) int64; losses, top, rest (rows) float32. A
        target that is no class gives NaN."""
        between = cuda.shared.array(3 * WARPS, np.float32)
        values = cuda.local.array(COUNT, np.float32)
        sums = cuda.local.array(2, np.float32)
        row = cuda.blockIdx.x * R + cuda.threadIdx.y
        start, target = row * columns, targets[row] if row < rows else ignored
        stop = columns if target != ignored else 0
        inside = target >= 0 and target < columns
        # Smoothing needs the sum of all logits; what they have in common is taken off first.
        offset, sum_x = ZERO, ZERO
        if smoothed:
            offset = np.float32(logits[start]) if stop > 0 else ZERO
            offset = finite(offset)
        high, part = LOWEST, ZERO
        for column in range(0, stop, STEP):
            read(logits, start, column, stop, values, LOWEST)
            high, part = fold(values, high, part)
            if smoothed:
                for v in cuda.unroll(V):
                    if column + (v * T + cuda.threadIdx.x) * W < stop:
                        for i in cuda.unroll(v * W, v * W + W):
                            sum_x += values[i] - offset
        most = finite(highest(high, between, 0))
        sums[0], sums[1] = part * exp(high - most), sum_x
        totals(sums, between, WARPS)
        part, sum_x = sums[0], sums[1]
        if row < rows and cuda.threadIdx.x == 0:
            log = np.float32(math.log(part)) if part > ZERO else LOWEST if part == ZERO else part
            top[row], rest[row] = most, log
            if target == ignored:
                losses[row] = ZERO
            else:
                one = log - (np.float32(logits[start + target]) - most) if inside else NAN
                if smoothed:
                    mean = sum_x / np.float32(columns) - (most - offset)
                    one = (ONE - smoothing) * one + smoothing * (log - mean)
                losses[row] = one

    return loss


@functools.cache
def make_count(T):
    """The kernel that looks at the targets before anything is computed: one block of T threads."""
    WARPS = T // WARP
    totals = over_row_together(T, 2)

    @cuda.jit(fastmath=False, launch_bounds=T)
    def count(targets, counts, rows, columns, ignored):
        """counts (2) int64: the targets that count, and those among them that are no class."""
        between = cuda.shared.array(2 * WARPS, np.float32)
        sums, taken = cuda.local.array(2, np.float32), cuda.local.array(AHEAD, np.int64)
        valid, outside = 0, 0
        for first in range(cuda.threadIdx.x, rows, AHEAD * T):
            for a in cuda.unroll(AHEAD):
                taken[a] = targets[first + a * T] if first + a * T < rows else ignored
            for a in cuda.unroll(AHEAD):
                if taken[a] != ignored:
                    valid += 1
                    outside += 1 if taken[a] < 0 or taken[a] >= columns else 0
        # Each thread's numbers are exact as float32, and so are their sums below 2**24.
        sums[0], sums[1] = np.float32(valid), np.float32(outside)
        totals(sums, between, 0)
        if cuda.threadIdx.x == 0:
            counts[0], counts[1] = np.int64(sums[0]), np.int64(sums[1])

    return count


@functools.cache
def make_add_up(T):
    """The kernel that adds up losses: one block of T threads."""
    total = over_row(T)

    @cuda.jit(fastmath=False, launch_bounds=T)
    def add_up(losses, counts, out, rows, mean):
        """out (1): the sum of the losses, divided by counts[0] if ``mean``."""
        between = cuda.shared.array(T // WARP, np.float32)
        taken, part = cuda.local.array(AHEAD, np.float32), ZERO
        for first in range(cuda.threadIdx.x, rows, AHEAD * T):
            for a in cuda.unroll(AHEAD):
                taken[a] = losses[first + a * T] if first + a * T < rows else ZERO
            for a in cuda.unroll(AHEAD):
                part += taken[a]
        part = total(part, between, 0)
        if cuda.threadIdx.x == 0:
            out[0] = part / np.float32(counts[0]) if mean else part

    return add_up


@functools.cache
def make_loss_grad(dtype, wide, W, T, V, each, mean):
    """Backward. each: g has a number a row, not one for all; mean: they are divided by the number
    of targets that count."""
    R, COUNT, STEP = rows_a_block(T), V * W, T * V * W
    read, write = pieces(dtype, wide, T, V)

    @cuda.jit(fastmath=False, launch_bounds=T * R)
    def loss_grad(
        logits, targets, top, rest, g, counts, dlogits, rows, columns, ignored, smoothing
    ):
        """logits, dlogits (rows * columns); g (rows) or (1); counts (2): see count."""
        values = cuda.local.array(COUNT, np.float32)
        row = cuda.blockIdx.x * R + cuda.threadIdx.y
        if row < rows:
            start, target = row * columns, targets[row]
            factor = np.float32(g[row if each else 0])
            if mean:
                factor /= np.float32(counts[0])
            high, low = top[row], rest[row]
            uniform, peak = smoothing / np.float32(columns), ONE - smoothing
            stop = columns if target != ignored else 0
            for column in range(0, columns, STEP):
                read(logits, start, column, stop, values, ZERO)
                for v in cuda.unroll(V):
                    hit = target - (column + (v * T + cuda.threadIdx.x) * W)
                    for i in cuda.unroll(W):
                        p = exp(values[v * W + i] - high - low) - uniform
                        p -= peak if hit == i else ZERO
                        values[v * W + i] = p * factor if stop > 0 else ZERO
                write(dlogits, start, column, columns, values)

    return loss_grad


class cross_entropy:
    """logits (..., V), class indices (...) -> minus the logarithm of each target's probability.

    Saved: logits, targets, the parts (rows,) of each row's log-sum-exp, and counts (see count).
    """

    dtypes = FLOATS

    @staticmethod
    def supports(logits, targets, *, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
        return (
            targets.dtype.kind in "iu"
            and logits.ndim > 0
            and logits.shape[-1] > 0
            and targets.shape == logits.shape[:-1]
            and reduction in REDUCTIONS
        )

    @staticmethod
    def forward(logits, targets, *, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
        """(loss, saved). Raises IndexError for a target outside of [0, V)."""
        rows, columns, flat, ids = _checked(logits, targets)
        ignore_index, label_smoothing = _options(ignore_index, label_smoothing, reduction)
        losses, top, rest = (empty(logits, rows, "float32") for _ in range(3))
        total, counts = empty(logits, 1, "float32"), empty(logits, 2, "int64")
        T = min(max(power_of_two(rows), WARP), MOST_THREADS)
        make_count(T)[1, T](ids, counts, rows, columns, ignore_index)
        outside = _read_later(counts)
        if rows:
            wide, W = access(columns, flat)
            spread = _spread(columns, W)
            kernel = make_loss(logits.dtype.name, wide, W, *spread, label_smoothing != 0)
            arguments = flat, ids, losses, top, rest, rows, columns, ignore_index
            kernel[launch_shape(rows, spread)](*arguments, label_smoothing)
        make_add_up(T)[1, T](losses, counts, total, rows, int(reduction == "mean"))
        if outside()[1]:  # known by now: the kernels above are still running
            _complain(targets, columns, ignore_index)
        saved = logits, ids, top, rest, counts
        if reduction == "none":
            return losses.reshape(targets.shape).astype(logits.dtype), saved
        return total.reshape(()).astype(logits.dtype), saved

    @staticmethod
    def backward(
        g,
        saved,
        needs=(True, False),
        *,
        ignore_index=-100,
        label_smoothing=0.0,
        reduction="mean",
    ):
        logits, ids, top, rest, counts = saved
        rows, columns, (flat,) = as_rows(logits=logits)
        ignore_index, label_smoothing = _options(ignore_index, label_smoothing, reduction)
        out, each = empty(logits, logits.shape), reduction == "none"
        if rows:
            scale = _gradient(g, logits, rows if each else 1)
            wide, W = access(columns, flat)
            spread = _spread(columns, W)
            mean = reduction == "mean"
            kernel = make_loss_grad(logits.dtype.name, wide, W, *spread, each, mean)
            arguments = flat, ids, top, rest, scale, counts, out.reshape(-1), rows, columns
            grid, block = launch_shape(rows, spread)
            kernel[grid, block](*arguments, ignore_index, label_smoothing)
        return out, None


def _spread(columns, W, values=16, most=512):
    """(T, V): how many threads go through a row, and the accesses of each at a time."""
    count, V = ceil_div(columns, W), max(values // W, 1)
    if count <= WARP * V:
        return min(power_of_two(count), WARP), power_of_two(ceil_div(count, WARP))
    return min(max(power_of_two(ceil_div(count, V)), SMALL_BLOCK), most), V


def _options(ignore_index, label_smoothing, reduction):
    """(ignore_index, label_smoothing) as the kernels take them. Raises TypeError and ValueError."""
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        raise ValueError(f'reduction is {reduction!r}; expected "mean", "sum" or "none"')
    return integer("ignore_index", ignore_index), number("label_smoothing", label_smoothing, 0, 1)


def _gradient(g, logits, count):
    """g flat, which must be so many numbers. Raises TypeError and ValueError."""
    g = np.asarray(g) if isinstance(g, np.generic) else g
    xp = namespace(logits=logits, g=g)
    present(g=g)
    if g.dtype.kind not in "fiu" and g.dtype.name not in FLOATS:
        raise TypeError(f"g is {g.dtype.name}; expected floats")
    if g.size != count:
        raise ValueError(f"g has shape {g.shape}; expected {count} in all, one for each loss")
    return flattened(xp, "g", g)


def _checked(logits, targets):
    """(rows, columns, flat logits, flat int64 targets)."""
    xp = namespace(logits=logits, targets=targets)
    rows, columns, (flat,) = as_rows(logits=logits)
    present(targets=targets)
    if targets.dtype.kind not in "iu":
        raise TypeError(f"targets are {targets.dtype.name}; expected integers, class indices")
    if targets.shape != logits.shape[:-1] or not columns:
        raise ValueError(
            f"targets have shape {targets.shape} and logits {logits.shape}; expected (...) and "
            "(..., V) with V of at least 1"
        )
    if targets.dtype == np.uint64:
        targets = xp.minimum(targets, MOST_TARGET)  # no class either, and no negative number
    return rows, columns, flat, flattened(xp, "targets", targets.astype(np.int64, copy=False))


def _read_later(array):
    """A function that gives the array on the host as it is now; work may be launched meanwhile."""
    if isinstance(array, np.ndarray):
        return lambda: array
    import cupy
    import cupyx

    copy, arrived = cupyx.empty_pinned(array.shape, array.dtype), cupy.cuda.Event()
    array.get(out=copy, blocking=False)
    arrived.record()

    def read():
        arrived.synchronize()
        return copy

    return read


def _complain(targets, columns, ignored):
    wrong = ((targets < 0) | (targets >= columns)) & (targets != ignored)
    place = tuple(int(i[0]) for i in wrong.nonzero())
    raise IndexError(f"targets hold {int(targets[place])} at {place}; expected 0 to {columns - 1}")
