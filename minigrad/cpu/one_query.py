"""Attention of one query a head, as in decoding: each key and value is read once and not copied.

The keys of a head are cut into parts, so that threads can share even a single head. Each part has
its own softmax and sum of values; weighing the parts by their sums puts them together, as in
Flash-Decoding (Dao et al., 2023). Query heads that share a key-value head go through it together.

Everything here is for compiled code. q (B, n_kv, group, H), scaled; k (B, n_kv, Lk, H) and
v (B, n_kv, Lk, Hv), each row with unit stride; visible (B, Lk) bool, or (B, 0) when all keys are;
scores (units, group, PART), mixed (units, group, Hv) and lse (units, group), where a unit is a part
of a key-value head of a batch entry.
"""

import math

import numpy as np

from minigrad.cpu import scalar
from minigrad.cpu._jit import SUMS, inner
from minigrad.cpu.tiles import dense

PART = 256  # keys in a part, whatever the number of threads


@inner(SUMS)
def attend_unit(unit, q, k, v, visible, scores, mixed, lse):
    """The softmax of one unit's scores, their log-sum-exp, and the sum of its values."""
    n_kv, Lk = k.shape[1], k.shape[2]
    parts = len(mixed) // (len(q) * n_kv)
    head, first = unit // parts, unit % parts * PART
    b, n = head // n_kv, head % n_kv
    count = min(PART, Lk - first)
    p = scores[unit]
    _scores(q[b, n], k[b, n, first:], count, p)
    for g in range(len(p)):
        lse[unit, g] = _softmax(p[g], visible[b, first:], count)
    _mix(p, v[b, n, first:], count, mixed[unit])


@inner(SUMS)
def _scores(q, keys, count, p):
    """p[g, j] = q[g] · keys[j]."""
    for j in range(count):
        key = dense(keys[j])
        for g in range(len(q)):
            row = q[g]
            total = row.dtype.type(0)
            for h in range(row.size):
                total += row[h] * key[h]
            p[g, j] = total


@inner(SUMS)
def _softmax(row, visible, count):
    """Turn scores into probabilities; the log-sum-exp, -infinity where nothing is visible."""
    some = visible.size == 0 and count > 0
    for j in range(min(visible.size, count)):
        some |= visible[j]
        row[j] = row[j] if visible[j] else row.dtype.type(-np.inf)
    if not some:
        for j in range(count):
            row[j] = 0
        return row.dtype.type(-np.inf)
    top = scalar.row_max(row, count)
    total = row.dtype.type(0)
    for j in range(count):
        row[j] = scalar.exp(row[j] - top)
        total += row[j]
    share = row.dtype.type(1) / total
    for j in range(count):
        row[j] *= share
    return top + math.log(total)


@inner(SUMS)
def _mix(p, values, count, out):
    """out[g] = the sum of p[g, j] values[j], four rows of values at a time."""
    for g in range(len(out)):
        total = out[g]
        for h in range(total.size):
            total[h] = 0
    whole = count // 4 * 4
    for j in range(0, whole, 4):
        a, b = dense(values[j]), dense(values[j + 1])
        c, d = dense(values[j + 2]), dense(values[j + 3])
        for g in range(len(out)):
            total, row = out[g], p[g]
            for h in range(total.size):
                total[h] += (
                    row[j] * a[h] + row[j + 1] * b[h] + row[j + 2] * c[h] + row[j + 3] * d[h]
                )
    for j in range(whole, count):
        a = dense(values[j])
        for g in range(len(out)):
            total, share = out[g], p[g, j]
            for h in range(total.size):
                total[h] += share * a[h]


@inner(SUMS)
def join(mixed, lse, out, whole):
    """The units of each head, weighed by e**lse, in out (B * n_h, Hv) and whole (B * n_h,).

    A query that sees nothing gets zeros, and reports infinity, so that backward finds
    e**(score - lse) = 0.
    """
    group = lse.shape[1]
    parts = len(lse) * group // len(out)
    for head in range(len(out) // group):
        for g in range(group):
            row, top = out[head * group + g], lse[head * parts, g]
            for part in range(1, parts):
                top = max(top, lse[head * parts + part, g])
            row[:] = 0
            whole[head * group + g] = np.inf
            if top != -np.inf:
                total = row.dtype.type(0)
                for part in range(parts):
                    total += scalar.exp(lse[head * parts + part, g] - top)
                for part in range(parts):
                    share = scalar.exp(lse[head * parts + part, g] - top) / total
                    for h in range(row.size):
                        row[h] += share * mixed[head * parts + part, g, h]
                whole[head * group + g] = top + math.log(total)
