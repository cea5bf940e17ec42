"""Softmax, its logarithm and cross-entropy over the last axis, a row at a time."""

import math

import numpy as np

from minigrad.cpu import scalar
from minigrad.cpu._arrays import check_ids, contiguous, rows_of, symmetric
from minigrad.cpu._jit import SUMS, inner, jit
from minigrad.cpu.threads import parallel_rows


def _cost(rows):
    return 20 + rows.shape[1] * (0.3 if rows.dtype == np.float32 else 8)


def _last_axis(x, axis):
    return x.ndim > 0 and axis in (-1, x.ndim - 1) and x.shape[-1] > 0


def _map_rows(kernel, *arrays):
    """A fresh array (..., D) that `kernel(start, stop, *rows, out)` fills."""
    rows = [rows_of(x) for x in arrays]
    out = np.empty(arrays[0].shape, arrays[0].dtype)
    parallel_rows(kernel, len(rows[0]), *rows, out.reshape(rows[0].shape), cost=_cost(rows[0]))
    return out


@symmetric
class softmax:
    """x (..., D) -> e**x / sum(e**x) over the last axis; a row of -inf alone gives zeros."""

    dtypes = ("float32", "float64")

    @staticmethod
    def supports(x, *, axis):
        return _last_axis(x, axis)

    @staticmethod
    def forward(x, *, axis=-1):
        out = _map_rows(_softmax, x)
        return out, (out,)

    @staticmethod
    def backward(g, saved, needs, *, axis=-1):
        return (_map_rows(_softmax_grad, *saved, g),)


@jit(SUMS)
def _softmax(start, stop, x, out):
    x, out = x[start:stop], out[start:stop]
    for i in range(len(x)):
        row, p = x[i], out[i]
        top = scalar.row_max(row, row.size)
        top = row.dtype.type(0) if top == -np.inf else top
        total = row.dtype.type(0)
        for j in range(row.size):
            p[j] = scalar.exp(row[j] - top)
            total += p[j]
        share = row.dtype.type(1) / total if total != 0 else total
        for j in range(row.size):
            p[j] *= share


@jit(SUMS)
def _softmax_grad(start, stop, p, g, dx):
    p, g, dx = p[start:stop], g[start:stop], dx[start:stop]
    for i in range(len(p)):
        row, grow, out = p[i], g[i], dx[i]
        mean = row.dtype.type(0)
        for j in range(row.size):
            mean += row[j] * grow[j]
        for j in range(row.size):
            out[j] = row[j] * (grow[j] - mean)


class log_softmax:
    """x (..., D) -> x - log(sum(e**x)) over the last axis."""

    dtypes = ("float32", "float64")

    @staticmethod
    def supports(x, *, axis):
        return _last_axis(x, axis)

    @staticmethod
    def forward(x, *, axis=-1):
        out = _map_rows(_log_softmax, x)
        return out, (out,)

    @staticmethod
    def backward(g, saved, needs, *, axis=-1):
        return (_map_rows(_log_softmax_grad, *saved, g),)


@inner(SUMS)
def _log_sum_exp(row):
    """The log-sum-exp of a row in two parts, the largest entry and the logarithm of the rest: added
    up, a large offset would swallow the digits of the small part."""
    top = scalar.row_max(row, row.size)
    top = row.dtype.type(0) if top == -np.inf else top
    total = row.dtype.type(0)
    for j in range(row.size):
        total += scalar.exp(row[j] - top)
    return top, row.dtype.type(math.log(total))


@jit(SUMS)
def _log_softmax(start, stop, x, out):
    x, out = x[start:stop], out[start:stop]
    for i in range(len(x)):
        row, y = x[i], out[i]
        top, rest = _log_sum_exp(row)
        rest = row.dtype.type(0) if rest == -np.inf else rest
        for j in range(row.size):
            y[j] = row[j] - top
        for j in range(row.size):  # a loop of its own: in one, the two could be added up first
            y[j] -= rest


@jit(SUMS)
def _log_softmax_grad(start, stop, y, g, dx):
    y, g, dx = y[start:stop], g[start:stop], dx[start:stop]
    for i in range(len(y)):
        row, grow, out = y[i], g[i], dx[i]
        total = row.dtype.type(0)
        for j in range(row.size):
            total += grow[j]
        for j in range(row.size):
            out[j] = grow[j] - scalar.exp(row[j]) * total


class cross_entropy:
    """logits (..., V), class indices (...) -> minus the logarithm of each target's probability.

    Saved: logits, targets, and the two parts of the log-sum-exp of each row. The probabilities
    themselves are made again in backward, straight into the gradient.
    """

    dtypes = ("float32", "float64")

    @staticmethod
    def supports(logits, targets, *, ignore_index, label_smoothing, reduction):
        return (
            targets.dtype.kind in "iu"
            and logits.ndim > 0
            and logits.shape[-1] > 0
            and targets.shape == logits.shape[:-1]
            and reduction in ("mean", "sum", "none")
        )

    @staticmethod
    def forward(logits, targets, *, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
        check_ids(targets, logits.shape[-1], "targets", ignore_index)
        rows, ids = rows_of(logits), _class_indices(targets)
        losses, top, rest = np.empty((3, len(rows)), rows.dtype)
        smoothing = rows.dtype.type(label_smoothing)
        arguments = rows, ids, ignore_index, smoothing, losses, top, rest
        parallel_rows(_cross_entropy, len(rows), *arguments, cost=_cost(rows))
        saved = logits, targets, top, rest
        if reduction == "none":
            return losses.reshape(targets.shape), saved
        divisor = _divisor(ids, ignore_index, reduction)
        out = losses.sum() / divisor if divisor else math.nan
        return np.asarray(out, rows.dtype), saved

    @staticmethod
    def backward(g, saved, needs, *, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
        logits, targets, top, rest = saved
        rows, ids = rows_of(logits), _class_indices(targets)
        divisor = _divisor(ids, ignore_index, reduction) or math.nan
        scale = contiguous(np.broadcast_to(g / rows.dtype.type(divisor), targets.shape)).reshape(-1)
        out = np.empty(logits.shape, rows.dtype)
        smoothing = rows.dtype.type(label_smoothing)
        arguments = rows, ids, ignore_index, smoothing, top, rest, scale, out.reshape(rows.shape)
        parallel_rows(_cross_entropy_grad, len(rows), *arguments, cost=_cost(rows))
        return out, None


def _class_indices(targets):
    return contiguous(targets.astype(np.int64, copy=False)).reshape(-1)


def _divisor(ids, ignore_index, reduction):
    return np.count_nonzero(ids != ignore_index) if reduction == "mean" else 1


@jit()
def _cross_entropy(start, stop, logits, targets, ignored, smoothing, losses, top, rest):
    # The smoothed target is 1 - smoothing on the class plus smoothing / V everywhere.
    logits, targets = logits[start:stop], targets[start:stop]
    losses, top, rest = losses[start:stop], top[start:stop], rest[start:stop]
    zero, one = logits.dtype.type(0), logits.dtype.type(1)
    for i in range(len(logits)):
        row = logits[i]
        top[i], rest[i] = _log_sum_exp(row)
        losses[i] = zero
        if targets[i] != ignored:
            losses[i] = (one - smoothing) * (rest[i] - (row[targets[i]] - top[i]))
            if smoothing != zero:
                total = zero
                for j in range(row.size):
                    total += row[j] - top[i]
                losses[i] += smoothing * (rest[i] - total / logits.dtype.type(row.size))


@jit()
def _cross_entropy_grad(start, stop, logits, targets, ignored, smoothing, top, rest, scale, out):
    logits, targets, out = logits[start:stop], targets[start:stop], out[start:stop]
    top, rest, scale = top[start:stop], rest[start:stop], scale[start:stop]
    zero, one = logits.dtype.type(0), logits.dtype.type(1)
    uniform = smoothing / logits.dtype.type(logits.shape[1])
    for i in range(len(logits)):
        row, dx, first, second, factor = logits[i], out[i], top[i], rest[i], scale[i]
        if targets[i] == ignored:
            dx[:] = zero
        else:
            for j in range(row.size):
                dx[j] = (scalar.exp(row[j] - first - second) - uniform) * factor
            dx[targets[i]] -= (one - smoothing) * factor
