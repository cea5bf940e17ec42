"""Layer norm and RMS norm: each row is read, normalised and written while it is in the cache."""

import math

import numpy as np

from minigrad.cpu._arrays import contiguous, rows_of
from minigrad.cpu._jit import SUMS, jit
from minigrad.cpu.threads import parallel_rows

BLOCKS = 16  # partial sums of the gradients of weight and bias, whatever the number of threads


class layer_norm:
    """x (..., D), weight (D,) or None, bias (D,) or None -> (x - mean) / sqrt(var + eps) * weight
    + bias, with the mean and variance of each row.

    Saved: x, mean (...), rstd (...), weight, with rstd = 1 / sqrt(var + eps).
    """

    dtypes = ("float32", "float64")

    @staticmethod
    def supports(x, weight, bias, *, eps):
        return x.ndim > 0 and all(p is None or p.shape == x.shape[-1:] for p in (weight, bias))

    @staticmethod
    def forward(x, weight, bias, *, eps=1e-5):
        rows, out = rows_of(x), np.empty(x.shape, x.dtype)
        mean, rstd = np.empty((2, len(rows)), x.dtype)
        scale, shift = _vector(weight, 1, x), _vector(bias, 0, x)
        eps = x.dtype.type(eps)
        arguments = rows, scale, shift, eps, out.reshape(rows.shape), mean, rstd
        parallel_rows(_layer_norm, len(rows), *arguments, cost=_cost(rows))
        return out, (x, mean, rstd, weight)

    @staticmethod
    def backward(g, saved, needs, *, eps=1e-5):
        x, mean, rstd, weight = saved
        rows, g_rows, dx = rows_of(x), rows_of(g), np.empty(x.shape, x.dtype)
        block, dweight, dbias = _partial_sums(rows)
        arguments = block, rows, mean, rstd, _vector(weight, 1, x), g_rows, dx.reshape(rows.shape)
        cost = 2 * _cost(rows) * block
        parallel_rows(_layer_norm_grad, len(dweight), *arguments, dweight, dbias, cost=cost)
        grads = dx, dweight.sum(axis=0), dbias.sum(axis=0)
        return tuple(grad if need else None for grad, need in zip(grads, needs))


class rms_norm:
    """x (..., D), weight (D,) or None -> x / sqrt(mean of squares + eps) * weight, row by row.

    Saved: x, rstd (...), weight, with rstd = 1 / sqrt(mean of squares + eps).
    """

    dtypes = ("float32", "float64")

    @staticmethod
    def supports(x, weight, *, eps):
        return x.ndim > 0 and (weight is None or weight.shape == x.shape[-1:])

    @staticmethod
    def forward(x, weight, *, eps=1e-5):
        rows, out = rows_of(x), np.empty(x.shape, x.dtype)
        rstd, eps = np.empty(len(rows), x.dtype), x.dtype.type(eps)
        arguments = rows, _vector(weight, 1, x), eps, out.reshape(rows.shape), rstd
        parallel_rows(_rms_norm, len(rows), *arguments, cost=_cost(rows))
        return out, (x, rstd, weight)

    @staticmethod
    def backward(g, saved, needs, *, eps=1e-5):
        x, rstd, weight = saved
        rows, g_rows, dx = rows_of(x), rows_of(g), np.empty(x.shape, x.dtype)
        block, dweight, _ = _partial_sums(rows)
        arguments = block, rows, rstd, _vector(weight, 1, x), g_rows, dx.reshape(rows.shape)
        cost = 2 * _cost(rows) * block
        parallel_rows(_rms_norm_grad, len(dweight), *arguments, dweight, cost=cost)
        grads = dx, dweight.sum(axis=0)
        return tuple(grad if need else None for grad, need in zip(grads, needs))


def _vector(p, default, x):
    return np.full(x.shape[-1], default, x.dtype) if p is None else contiguous(p)


def _cost(rows):
    return 20 + 0.15 * rows.shape[1] * rows.itemsize / 4


def _partial_sums(rows):
    """(rows a block, zeros (blocks, D), zeros (blocks, D)), by the shape of `rows` alone."""
    block = max(math.ceil(len(rows) / BLOCKS), 8)
    shape = (math.ceil(len(rows) / block), rows.shape[1])
    return block, np.zeros(shape, rows.dtype), np.zeros(shape, rows.dtype)


@jit(SUMS)
def _layer_norm(start, stop, x, weight, bias, eps, out, mean, rstd):
    x, out, mean, rstd = x[start:stop], out[start:stop], mean[start:stop], rstd[start:stop]
    D = x.shape[1]
    one = x.dtype.type(1)
    share = one / x.dtype.type(D)
    for i in range(len(x)):
        row, y = x[i], out[i]
        total = x.dtype.type(0)
        for j in range(D):
            total += row[j]
        m = total * share
        squares = x.dtype.type(0)
        for j in range(D):
            squares += (row[j] - m) * (row[j] - m)
        r = one / math.sqrt(squares * share + eps)
        for j in range(D):
            y[j] = (row[j] - m) * r * weight[j] + bias[j]
        mean[i], rstd[i] = m, r


@jit(SUMS)
def _layer_norm_grad(start, stop, block, x, mean, rstd, weight, g, dx, dweight, dbias):
    # With y = (x - mean) rstd and h = g weight: dx = rstd (h - mean(h) - y mean(h y)). One block
    # of rows after another; each has a row of dweight and dbias to itself.
    D = x.shape[1]
    share = x.dtype.type(1) / x.dtype.type(D)
    for b in range(start, stop):
        dw, db = dweight[b], dbias[b]
        for i in range(b * block, min((b + 1) * block, len(x))):
            row, grow, out, m, r = x[i], g[i], dx[i], mean[i], rstd[i]
            sum_h, sum_hy = x.dtype.type(0), x.dtype.type(0)
            for j in range(D):
                h = grow[j] * weight[j]
                sum_h += h
                sum_hy += h * ((row[j] - m) * r)
            mean_h, mean_hy = sum_h * share, sum_hy * share
            for j in range(D):
                y = (row[j] - m) * r
                out[j] = r * (grow[j] * weight[j] - mean_h - y * mean_hy)
            for j in range(D):
                dw[j] += grow[j] * ((row[j] - m) * r)
            for j in range(D):
                db[j] += grow[j]


@jit(SUMS)
def _rms_norm(start, stop, x, weight, eps, out, rstd):
    x, out, rstd = x[start:stop], out[start:stop], rstd[start:stop]
    D = x.shape[1]
    one = x.dtype.type(1)
    share = one / x.dtype.type(D)
    for i in range(len(x)):
        row, y = x[i], out[i]
        squares = x.dtype.type(0)
        for j in range(D):
            squares += row[j] * row[j]
        r = one / math.sqrt(squares * share + eps)
        for j in range(D):
            y[j] = row[j] * r * weight[j]
        rstd[i] = r


@jit(SUMS)
def _rms_norm_grad(start, stop, block, x, rstd, weight, g, dx, dweight):
    # As _layer_norm_grad, with y = x rstd and no mean taken off: dx = rstd (h - y mean(h y)).
    D = x.shape[1]
    share = x.dtype.type(1) / x.dtype.type(D)
    for b in range(start, stop):
        dw = dweight[b]
        for i in range(b * block, min((b + 1) * block, len(x))):
            row, grow, out, r = x[i], g[i], dx[i], rstd[i]
            sum_hy = x.dtype.type(0)
            for j in range(D):
                sum_hy += grow[j] * weight[j] * (row[j] * r)
            mean_hy = sum_hy * share
            for j in range(D):
                out[j] = r * (grow[j] * weight[j] - row[j] * r * mean_hy)
            for j in range(D):
                dw[j] += grow[j] * (row[j] * r)
