"""Kernels for decoding, in which a team of threads shares each product and each head."""

import functools

import numpy as np
from numba import types

from minigrad.cpu import one_query
from minigrad.cpu._arrays import contiguous
from minigrad.cpu._jit import SUMS, inner, jit
from minigrad.cpu.team import (
    BOARD,
    FEW,
    MATRIX,
    begin,
    begin_attention,
    finish,
    give,
    team,
)
from minigrad.cpu.threads import parallel_rows

LARGE = 1 << 16  # elements of a matrix below which the usual product is as good


class linear:
    """x (..., K), weight (K, N), bias (N,) or None -> x @ weight + bias, for a few rows of x and a
    large weight, or the transpose of one. Saved: x and weight."""

    dtypes = ("float32",)

    @staticmethod
    def supports(x, weight, bias):
        K = x.shape[-1] if x.ndim else 0
        return (
            weight.ndim == 2
            and weight.size >= LARGE
            and 0 < x.size <= FEW * K
            and len(weight) == K
            and (weight.flags.c_contiguous or weight.flags.f_contiguous)
            and (bias is None or bias.shape == weight.shape[1:])
        )

    @staticmethod
    def forward(x, weight, bias):
        out = _product(contiguous(x).reshape(-1, x.shape[-1]), weight)
        out = out.reshape(*x.shape[:-1], out.shape[-1])
        return out if bias is None else out + bias, (x, weight)

    @staticmethod
    def backward(g, saved, needs):
        x, weight = saved
        rows, g_rows = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
        return (
            (g_rows @ weight.T).reshape(x.shape) if needs[0] else None,
            rows.T @ g_rows if needs[1] else None,
            g_rows.sum(axis=0) if needs[2] else None,
        )


def _product(x, w):
    """x (M, K), C-contiguous, @ w (K, N), contiguous in either order; float32."""
    out = np.empty((len(x), w.shape[1]), x.dtype)
    turned = not w.flags.c_contiguous
    ours = team()
    if not ours.lock.acquire(blocking=False):  # another thread of Python leads
        return np.matmul(x, w, out=out)
    try:
        ours.call_helpers()
        _lead_product(ours.board, x, w.T if turned else w, turned, ours.sums, out)
    finally:
        ours.lock.release()
    return out


def attend(q, k, v, visible, scale):
    """Attention of one query a head: q (B, n_h, 1, H), k (B, n_kv, Lk, H), v (B, n_kv, Lk, Hv) with
    unit stride in their rows, visible (B, Lk) bool, or (B, 0) when all keys are.

    Returns out (B, n_h, 1, Hv) and the log-sum-exp (B * n_h, 1) of the scaled scores.
    """
    B, n_h, _, H = q.shape
    n_kv, Lk, Hv = v.shape[1:]
    out, lse = np.empty((B * n_h, Hv), q.dtype), np.empty(B * n_h, q.dtype)
    arrays = q.reshape(B, n_kv, n_h // n_kv, H) * scale, k, v, contiguous(visible)
    ours = team()
    # With more rows BLAS does the products around this, and watching helpers would take its core.
    if B <= FEW and q.dtype == np.float32 and ours.lock.acquire(blocking=False):
        try:
            ours.call_helpers()
            _lead_attention(ours.board, *arrays, out, lse)
        finally:
            ours.lock.release()
    else:
        attend_units, join = _without_team(q.dtype.name)
        scores, mixed, parts = units.py_func(*arrays[:3])
        cost = 0.05 * q.itemsize * n_h // n_kv * min(Lk, one_query.PART) * H
        parallel_rows(attend_units, len(parts), *arrays, scores, mixed, parts, cost=cost)
        join(mixed, parts, out, lse)
    return out.reshape(B, n_h, 1, Hv), lse.reshape(-1, 1)


OWN = types.float32[:, ::1]


@jit(signature=types.void(BOARD, OWN, MATRIX, types.boolean, types.float32[::1], OWN))
def _lead_product(board, x, w, turned, sums, out):
    begin(board, x)
    give(board, w, turned, sums, out)
    finish(board, x)


@inner()
def units(q, k, v):
    """Room for what the units of ``one_query`` make: scores, mixed, lse."""
    B, n_kv, group, _ = q.shape
    parts = max((k.shape[2] + one_query.PART - 1) // one_query.PART, 1)
    return (
        np.empty((B * n_kv * parts, group, one_query.PART), q.dtype),
        np.empty((B * n_kv * parts, group, v.shape[3]), q.dtype),
        np.empty((B * n_kv * parts, group), q.dtype),
    )


def _attention_types(number):
    """The types of (q, k, v, visible), of (scores, mixed, lse) and of (out, whole)."""
    given = types.Array(number, 4, "A", readonly=True)
    return (
        (number[:, :, :, ::1], given, given, types.boolean[:, ::1]),
        (number[:, :, ::1], number[:, :, ::1], number[:, ::1]),
        (number[:, ::1], number[::1]),
    )


GIVEN, _, MADE = _attention_types(types.float32)


@jit(SUMS, types.void(BOARD, *GIVEN, *MADE))
def _lead_attention(board, q, k, v, visible, out, whole):
    scores, mixed, lse = units(q, k, v)
    begin_attention(board, q, k, v, visible, scores, mixed, lse)
    finish(board, scores)
    one_query.join(mixed, lse, out, whole)


@functools.cache
def _without_team(dtype):
    """(the units of some range, what puts them together), compiled for one dtype."""
    given, room, made = _attention_types(getattr(types, dtype))
    span = types.intp, types.intp

    def attend_units(start, stop, q, k, v, visible, scores, mixed, lse):
        for unit in range(start, stop):
            one_query.attend_unit(unit, q, k, v, visible, scores, mixed, lse)

    def join(mixed, lse, out, whole):
        one_query.join(mixed, lse, out, whole)

    return (
        jit(SUMS, types.void(*span, *given, *room))(attend_units),
        jit(SUMS, types.void(*room[1:], *made))(join),
    )
