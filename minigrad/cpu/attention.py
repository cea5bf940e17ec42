"""Attention without its L × L matrix: a block of queries at a time meets the keys that it sees.

Forward keeps of the probabilities only the logarithm of each row's sum, from which backward makes
them again, block by block (Dao et al., FlashAttention, 2022). A block of scores fits in the L2
cache, so the softmax is taken over whole rows and needs no running rescaling.
"""

import functools
import math

import numpy as np
from numba import types

from minigrad.cpu import scalar
from minigrad.cpu._arrays import unit_rows
from minigrad.cpu._jit import SUMS, inner, jit
from minigrad.cpu.threads import parallel_rows
from minigrad.cpu.tiles import dense, panel_width, product

BLOCK = 32  # queries that meet the keys together


class scaled_dot_product_attention:
    """q (B, n_h, Lq, H), k (B, n_kv, Lk, H), v (B, n_kv, Lk, Hv) -> softmax(q kᵀ scale) v, of shape
    (B, n_h, Lq, Hv); query head i reads key-value head i // (n_h / n_kv).

    `mask` hides keys from all queries of a batch entry: bool, (B, 1, 1, Lk). `causal`: query i sees
    keys up to i + Lk - Lq. A query that sees nothing gets zeros. Saved: q, k, v, which keys are
    visible, and the log-sum-exp (B * n_h, Lq) of the scaled scores.
    """

    dtypes = ("float32", "float64")

    @staticmethod
    def supports(q, k, v, mask, *, causal, scale):
        return (
            _hides_keys(mask, q, k)
            and q.ndim == k.ndim == v.ndim == 4
            and q.shape[0] == k.shape[0]
            and q.shape[3] == k.shape[3]
            and k.shape[:3] == v.shape[:3]
            and k.shape[1] > 0
            and q.shape[1] % k.shape[1] == 0
        )

    @staticmethod
    def forward(q, k, v, mask=None, *, causal=False, scale=None):
        B, n_h, Lq, H = q.shape
        visible = _visible(mask, k)
        if Lq == 1:  # each key is read once, so that copying keys into panels would not pay
            from minigrad.cpu import decode

            scaled = _scale(scale, q)
            out, lse = decode.attend(q, unit_rows(k), unit_rows(v), visible, scaled)
            return out, (q, k, v, visible, lse)
        out = np.empty((B, n_h, Lq, v.shape[3]), q.dtype)
        lse = np.empty((B * n_h, Lq), q.dtype)
        arrays = *map(unit_rows, (q, k, v)), visible, out, lse
        cost = 0.02 * q.itemsize * Lq * k.shape[2] * H
        parallel_rows(_attend, B * n_h, *arrays, causal, _scale(scale, q), cost=cost)
        return out, (q, k, v, visible, lse)

    @staticmethod
    def backward(g, saved, needs, *, causal=False, scale=None):
        q, k, v, visible, lse = saved
        dq, dk, dv = (np.empty(x.shape, x.dtype) for x in (q, k, v))
        arrays = *map(unit_rows, (q, k, v, g)), visible, lse, dq, dk, dv
        heads = k.shape[0] * k.shape[1]
        cost = 0.05 * q.itemsize * q.size * k.shape[2] / max(heads, 1)
        parallel_rows(_attend_grad, heads, *arrays, causal, _scale(scale, q), cost=cost)
        return tuple(d if need else None for d, need in zip((dq, dk, dv, None), needs))

    @staticmethod
    def jvp(values, tangents, *, causal=False, scale=None):
        """(out, its tangent); a tangent of None is zero."""
        q, k, v = values[:3]
        moves = [
            np.zeros(x.shape, x.dtype) if t is None else t for x, t in zip(values, tangents[:3])
        ]
        B, n_h, Lq, H = q.shape
        out, moved = (np.empty((B, n_h, Lq, v.shape[3]), q.dtype) for _ in range(2))
        visible = _visible(values[3], k)
        arrays = *map(unit_rows, (q, k, v, *moves)), visible, out, moved
        cost = 0.06 * q.itemsize * Lq * k.shape[2] * H
        parallel_rows(_attend_jvp, B * n_h, *arrays, causal, _scale(scale, q), cost=cost)
        return out, moved


def _hides_keys(mask, q, k):
    """Whether a mask is None or bool of a shape like (B, 1, 1, Lk), the same for all queries."""
    if mask is None:
        return True
    shape = (1,) * (4 - mask.ndim) + mask.shape
    want = k.ndim == 4 and ((1, q.shape[0]), (1,), (1,), (1, k.shape[2]))
    return mask.dtype == bool and want and all(n in few for n, few in zip(shape, want))


def _visible(mask, k):
    """Which keys of each batch entry are visible, (B, Lk) bool, or (B, 0) when all are."""
    if mask is None:
        return np.empty((len(k), 0), bool)
    flat = mask.reshape(mask.shape[0] if mask.ndim == 4 else 1, mask.shape[-1] if mask.ndim else 1)
    return np.broadcast_to(flat, (len(k), k.shape[2]))


def _scale(scale, q):
    return q.dtype.type(1 / math.sqrt(q.shape[3]) if scale is None else scale)


def _attend(start, stop, q, k, v, visible, out, lse, causal, scale):
    """Some of the B * n_h query heads, forward, with scratch memory for one head."""
    keys, Hv = _padded(v)
    empty, width = functools.partial(np.empty, dtype=q.dtype), panel_width(q.dtype)
    scratch = (
        empty((keys // width, q.shape[3], width)),
        empty((Hv // width, keys, width)),
        empty((BLOCK, q.shape[3])),
        empty((BLOCK, keys)),
        empty((BLOCK, Hv)),
    )
    kernel = _compiled(_attend_heads, q.dtype, 3, (4, 2), (3, 3, 2, 2, 2))
    kernel(start, stop, bool(causal), scale, q, k, v, visible, out, lse, *scratch)


def _attend_grad(start, stop, q, k, v, g, visible, lse, dq, dk, dv, causal, scale):
    """Some of the B * n_kv key-value heads, backward, with scratch memory for one head."""
    (keys, Hk), (_, Hv) = _padded(k), _padded(v)
    empty, width = functools.partial(np.empty, dtype=q.dtype), panel_width(q.dtype)
    scratch = (
        empty((keys // width, k.shape[3], width)),
        empty((keys // width, v.shape[3], width)),
        empty((Hk // width, keys, width)),
        empty((Hk // width, BLOCK, width)),
        empty((Hv // width, BLOCK, width)),
        empty((BLOCK, k.shape[3])),
        empty((BLOCK, v.shape[3])),
        empty((BLOCK, keys)),
        empty((BLOCK, keys)),
        empty((BLOCK, Hk)),
        empty((keys, Hk)),
        empty((keys, Hv)),
    )
    dims = (3,) * 5 + (2,) * 7
    kernel = _compiled(_attend_grad_heads, q.dtype, 4, (2, 4, 4, 4), dims)
    arrays = q, k, v, g, visible, lse, dq, dk, dv
    kernel(start, stop, bool(causal), scale, *arrays, *scratch)


def _attend_jvp(start, stop, q, k, v, dq, dk, dv, visible, out, moved, causal, scale):
    """Some of the B * n_h query heads, forward mode, with scratch memory for one head."""
    keys, Hv = _padded(v)
    empty, width = functools.partial(np.empty, dtype=q.dtype), panel_width(q.dtype)
    scratch = (
        empty((keys // width, q.shape[3], width)),
        empty((keys // width, q.shape[3], width)),
        empty((Hv // width, keys, width)),
        empty((Hv // width, keys, width)),
        empty((BLOCK, q.shape[3])),
        empty((BLOCK, q.shape[3])),
        empty((BLOCK, keys)),
        empty((BLOCK, keys)),
        empty((BLOCK, Hv)),
    )
    kernel = _compiled(_attend_jvp_heads, q.dtype, 6, (4, 4), (3,) * 4 + (2,) * 5)
    arrays = q, k, v, dq, dk, dv, visible, out, moved
    kernel(start, stop, bool(causal), scale, *arrays, *scratch)


def _padded(x):
    """(B, n, L, H) -> L and H rounded up to whole panels."""
    width = panel_width(x.dtype)
    return [-(-size // width) * width for size in x.shape[2:]]


@functools.cache
def _compiled(kernel, dtype, n_inputs, output_dims, scratch_dims):
    """A kernel for one dtype, with inputs of any strides: else each layout would be compiled."""
    number = types.float32 if dtype == np.float32 else types.float64
    inputs = [types.Array(number, 4, "A", readonly=True)] * n_inputs
    inputs.append(types.Array(types.boolean, 2, "A", readonly=True))
    others = [types.Array(number, ndim, "C") for ndim in output_dims + scratch_dims]
    signature = types.void(types.intp, types.intp, types.boolean, number, *inputs, *others)
    return jit(SUMS, signature)(kernel)


def _attend_heads(
    start, stop, causal, scale, q, k, v, visible, out, lse, k_turned, v_panels, q_rows, p, mixed
):
    # The unit of work is a query head of a batch entry.
    n_h, Lq, H = q.shape[1], q.shape[2], q.shape[3]
    group, Lk, width = n_h // k.shape[1], k.shape[2], k_turned.shape[2]
    one = lse.dtype.type(1)
    for unit in range(start, stop):
        b, head = unit // n_h, unit % n_h
        q_head, out_head, lse_head = q[b, head], out[b, head], lse[unit]
        _turn(k[b, head // group], k_turned)
        _panels(v[b, head // group], Lk, v_panels)
        for first in range(0, Lq, BLOCK):
            rows = min(BLOCK, Lq - first)
            near = _whole(_seen(first + rows - 1, Lq, Lk, causal), width)
            _copy(q_head, first, rows, q_rows, 0, scale)
            product(p, q_rows, k_turned, rows, H, near // width, False)
            for i in range(rows):
                seen = _seen(first + i, Lq, Lk, causal)
                lse_head[first + i] = _softmax(p[i], visible[b], seen, near)
            product(mixed, p, v_panels, rows, near, len(v_panels), False)
            _copy(mixed, 0, rows, out_head, first, one)


def _attend_jvp_heads(
    start, stop, causal, scale, q, k, v, dq, dk, dv, visible, out, moved,
    k_turned, dk_turned, v_panels, dv_panels, q_rows, dq_rows, p, ds, mixed,
):  # fmt: skip
    # The unit of work is a query head. dS = dQ Kᵀ + Q dKᵀ; dP = P (dS - rowsum(P dS));
    # dO = dP V + P dV.
    n_h, Lq, H = q.shape[1], q.shape[2], q.shape[3]
    group, Lk, width = n_h // k.shape[1], k.shape[2], k_turned.shape[2]
    one = q.dtype.type(1)
    for unit in range(start, stop):
        b, head = unit // n_h, unit % n_h
        n = head // group
        _turn(k[b, n], k_turned)
        _turn(dk[b, n], dk_turned)
        _panels(v[b, n], Lk, v_panels)
        _panels(dv[b, n], Lk, dv_panels)
        for first in range(0, Lq, BLOCK):
            rows = min(BLOCK, Lq - first)
            near = _whole(_seen(first + rows - 1, Lq, Lk, causal), width)
            _copy(q[b, head], first, rows, q_rows, 0, scale)
            _copy(dq[b, head], first, rows, dq_rows, 0, scale)
            product(p, q_rows, k_turned, rows, H, near // width, False)
            product(ds, dq_rows, k_turned, rows, H, near // width, False)
            product(ds, q_rows, dk_turned, rows, H, near // width, True)
            for i in range(rows):
                seen = _seen(first + i, Lq, Lk, causal)
                _softmax(p[i], visible[b], seen, near)
                _softmax_jvp(p[i], ds[i], seen, near)
            product(mixed, p, v_panels, rows, near, len(v_panels), False)
            _copy(mixed, 0, rows, out[b, head], first, one)
            product(mixed, ds, v_panels, rows, near, len(v_panels), False)
            product(mixed, p, dv_panels, rows, near, len(dv_panels), True)
            _copy(mixed, 0, rows, moved[b, head], first, one)


def _attend_grad_heads(
    start, stop, causal, scale, q, k, v, g, visible, lse, dq, dk, dv,
    k_turned, v_turned, k_panels, q_panels, g_panels, q_rows, g_rows,
    p, ds, dq_rows, dk_sum, dv_sum,
):  # fmt: skip
    # The unit of work is a key-value head, so that no two threads add to one gradient. With
    # P = softmax(S) and O = P V: dV = Pᵀ dO; dP = dO Vᵀ; dS = P (dP - rowsum(P dP)); then
    # dQ = dS K and dK = dSᵀ Q. Queries are scaled when they are copied, and dQ when it is written.
    n_h, Lq, H = q.shape[1], q.shape[2], q.shape[3]
    n_kv, Lk, Hv = v.shape[1], v.shape[2], v.shape[3]
    group, width = n_h // n_kv, k_turned.shape[2]
    one = lse.dtype.type(1)
    for unit in range(start, stop):
        b, n = unit // n_kv, unit % n_kv
        _turn(k[b, n], k_turned)
        _turn(v[b, n], v_turned)
        _panels(k[b, n], Lk, k_panels)
        _clear(dk_sum)
        _clear(dv_sum)
        for head in range(n * group, (n + 1) * group):
            q_head, g_head, dq_head = q[b, head], g[b, head], dq[b, head]
            lse_head = lse[b * n_h + head]
            for first in range(0, Lq, BLOCK):
                rows = min(BLOCK, Lq - first)
                near = _whole(_seen(first + rows - 1, Lq, Lk, causal), width)
                _copy(q_head, first, rows, q_rows, 0, scale)
                _copy(g_head, first, rows, g_rows, 0, one)
                _panels(q_rows, rows, q_panels)
                _panels(g_rows, rows, g_panels)
                product(p, q_rows, k_turned, rows, H, near // width, False)
                product(ds, g_rows, v_turned, rows, Hv, near // width, False)
                for i in range(rows):
                    seen = _seen(first + i, Lq, Lk, causal)
                    _hide(p[i], visible[b], seen)
                    _softmax_grad(p[i], ds[i], lse_head[first + i], seen, near)
                product(dv_sum, p.T, g_panels, near, rows, len(g_panels), True)
                product(dk_sum, ds.T, q_panels, near, rows, len(q_panels), True)
                product(dq_rows, ds, k_panels, rows, near, len(k_panels), False)
                _copy(dq_rows, 0, rows, dq_head, first, scale)
        _copy(dk_sum, 0, Lk, dk[b, n], 0, one)
        _copy(dv_sum, 0, Lk, dv[b, n], 0, one)


@inner()
def _whole(n, width):
    """n keys rounded up to whole panels."""
    return (n + width - 1) // width * width


@inner()
def _clear(x):
    for i in range(len(x)):
        row = x[i]
        for j in range(row.size):
            row[j] = 0


@inner()
def _seen(i, Lq, Lk, causal):
    """How many keys query `i` sees."""
    return max(i + 1 + Lk - Lq, 0) if causal else Lk


@inner()
def _hide(row, visible, seen):
    """Scores of keys that are not visible become -infinity; 0 if nothing is seen, else `seen`."""
    if visible.size == 0:
        return seen
    some = False
    for j in range(seen):
        some |= visible[j]
        row[j] = row[j] if visible[j] else row.dtype.type(-np.inf)
    return seen if some else 0


@inner(SUMS)
def _softmax(row, visible, seen, near):
    """Turn the first `seen` scores into probabilities, then zeros up to `near`; the log-sum-exp.

    A row that sees nothing reports infinity, so that backward finds e**(score - lse) = 0.
    """
    seen = _hide(row, visible, seen)
    top = scalar.row_max(row, seen)
    total = row.dtype.type(0)
    for j in range(seen):
        row[j] = scalar.exp(row[j] - top)
        total += row[j]
    share = row.dtype.type(1) / total
    for j in range(seen):
        row[j] *= share
    for j in range(seen, near):
        row[j] = 0
    return top + math.log(total) if seen > 0 else row.dtype.type(np.inf)


@inner(SUMS)
def _softmax_jvp(p, ds, seen, near):
    """The tangents `ds` of scores become those of the probabilities p, and zeros up to `near`."""
    mean = p.dtype.type(0)
    for j in range(seen):
        mean += p[j] * ds[j]
    for j in range(seen):
        ds[j] = p[j] * (ds[j] - mean)
    for j in range(seen, near):
        ds[j] = 0


@inner(SUMS)
def _softmax_grad(p, ds, lse, seen, near):
    """Scores become probabilities p, and `ds`, which holds dp, becomes p (dp - sum(p dp))."""
    mean = p.dtype.type(0)
    for j in range(seen):
        p[j] = scalar.exp(p[j] - lse)
        mean += p[j] * ds[j]
    for j in range(seen):
        ds[j] = p[j] * (ds[j] - mean)
    for j in range(seen, near):
        p[j] = 0
        ds[j] = 0


@inner()
def _copy(x, first, rows, to, start, scale):
    """Rows of x from `first` on, times `scale`, into `to` from `start` on."""
    for i in range(rows):
        row, target = dense(x[first + i]), dense(to[start + i])
        for j in range(min(row.size, target.size)):
            target[j] = row[j] * scale


@inner()
def _panels(x, rows, to):
    """Copy a matrix (rows, H) into panels (H / width, n, width); its further rows become zeros.

    Further columns stay as they are: what they lead to is left out in the end.
    """
    width = to.shape[2]
    for i in range(rows):
        row = dense(x[i])
        for p in range(to.shape[0]):
            part, target = row[p * width : (p + 1) * width], to[p, i]
            for j in range(part.size):
                target[j] = part[j]
    for i in range(rows, to.shape[1]):
        for p in range(to.shape[0]):
            for j in range(width):
                to[p, i, j] = 0


@inner()
def _turn(x, to):
    """Copy the transpose (H, n) of a matrix (n, H) into panels (n / width, H, width)."""
    width = to.shape[2]
    for i in range(len(x)):
        row = dense(x[i])
        for j in range(row.size):
            to[i // width, j, i % width] = row[j]
