"""One token through a block of a Llama in two compiled calls, before and after the cache's update.

Between products that take 30 to 150 microseconds each, a call from Python costs several, and what
it computes next to nothing. Here the leader of a team does the small work itself and shares the
products. The same computation, module by module, is ``minigrad.models.llama.LlamaBlock``.
"""

import math

import numpy as np
from numba import types

from minigrad.cpu import one_query
from minigrad.cpu._arrays import contiguous, unit_rows
from minigrad.cpu._jit import SUMS, inner, jit
from minigrad.cpu.activation import _swiglu
from minigrad.cpu.decode import units
from minigrad.cpu.norm import _rms_norm
from minigrad.cpu.rotary import _rotary
from minigrad.cpu.team import BOARD, FEW, MATRIX, begin, begin_attention, finish, give, team

OWN, VECTOR = types.float32[:, ::1], types.Array(types.float32, 1, "C", readonly=True)
SUMS_MEMORY, NUMBER = types.float32[::1], types.float32
HEADS = types.Array(types.float32, 4, "A", readonly=True)
NONE = np.empty(0, np.float32)


def supports(x, gains, weights, rotary, heads):
    """Whether x (B, 1, D) has few rows, and all arrays are float32, in this memory, and of the
    shapes that belong together: compiled code would not notice. Arguments: see ``run``."""
    (B, _, D), (n_h, n_kv, H), F = x.shape, heads, weights[8].shape[-1]
    q, kv = n_h * H, n_kv * H
    pairs = (D, q), (D, kv), (D, kv), (q, D), (D, F), (D, F), (F, D)
    shapes = [(D,), (D,), *(shape for pair in pairs for shape in (pair, pair[1:]))]
    tables = [((1, H // 2), (B, 1, H // 2))] * 2
    return (
        B <= FEW
        and x.dtype == np.float32
        and all(a is None or _is_usual(a, (s,)) for a, s in zip([*gains, *weights], shapes))
        and all(_is_usual(table, s) for table, s in zip(rotary, tables))
    )


def _is_usual(array, shapes):
    return (
        type(array) is np.ndarray
        and array.dtype == np.float32
        and array.shape in shapes
        and array.flags.c_contiguous
    )


def run(x, norms, weights, visible, rotary, heads, remember):
    """x (B, 1, D) -> (B, 1, D), or None when another thread of Python is at the board.

    Arguments: norms, (gain, eps) of the two; weights, of queries, keys, values, output, gate, up
    and down the matrix (in, out) and the bias or None; visible (B, T) bool, or (B, 0) when all keys
    are; rotary, cos and sin, (1, H/2) or (B, 1, H/2); heads, (n_h, n_kv, H); remember, the cache's
    update as for ``MultiHeadAttention.forward``.
    """
    (B, _, D), (n_h, n_kv, H) = x.shape, heads
    ours = team()
    if not ours.lock.acquire(blocking=False):
        return None
    try:
        ours.call_helpers()
        board, sums, rows = ours.board, ours.sums, contiguous(x).reshape(B, D)
        q, k, v = (np.empty((B, n * H), np.float32) for n in (n_h, n_kv, n_kv))
        cos, sin = (table.reshape(-1, H // 2) for table in rotary)
        first, second = ((gain, np.float32(eps)) for gain, eps in norms)
        weights = [NONE if a is None else a for a in weights]
        _before(board, sums, rows, *first, *weights[:6], cos, sin, q, k, v)
        keys, values = remember(k.reshape(B, n_kv, 1, H), v.reshape(B, n_kv, 1, H))
        keys, values = (_remembered(each, (B, n_kv, H), visible) for each in (keys, values))
        out, q = np.empty((B, D), np.float32), q.reshape(B, n_kv, n_h // n_kv, H)
        rest = *weights[6:8], *second, *weights[8:], out
        _after(board, sums, rows, q, keys, values, contiguous(visible), *rest)
    finally:
        ours.lock.release()
    return out.reshape(B, 1, D)


def _remembered(memory, shape, visible):
    """Keys or values of all positions so far, (B, n_kv, T, H), as the compiled code takes them."""
    array = unit_rows(memory.data.astype(np.float32, copy=False))
    B, n_kv, T, H = array.shape
    if (B, n_kv, H) != shape or visible.shape[1] not in (0, T):
        raise ValueError(
            f"attention: {array.shape} keys or values with a mask {visible.shape}, expected "
            f"{shape[:2]} heads of width {shape[2]}, and as many columns as keys"
        )
    return array


@inner()
def _plus(out, bias):
    """out += bias, unless it is empty."""
    for m in range(len(out)):
        row = out[m]
        for j in range(bias.size):
            row[j] += bias[j]


@inner()
def _normed(x, gain, eps):
    out, rstd = np.empty_like(x), np.empty(len(x), x.dtype)
    _rms_norm(0, len(x), x, gain, eps, out, rstd)
    return out


@inner()
def _turn(x, cos, sin):
    """Turn the heads of x (B, n H) in place."""
    H = 2 * cos.shape[1]
    heads = x.reshape(len(x), x.shape[1] // H, H)
    _rotary(0, len(x), heads.copy(), cos, sin, x.dtype.type(1), heads)


_shared = BOARD, SUMS_MEMORY, OWN
_weights = MATRIX, VECTOR


@jit(
    SUMS,
    types.void(*_shared, VECTOR, NUMBER, *_weights * 3, OWN, OWN, OWN, OWN, OWN),
)
def _before(board, sums, x, gain, eps, wq, bq, wk, bk, wv, bv, cos, sin, q, k, v):
    """Queries, keys and values (B, n H) of x (B, D), turned by their positions."""
    h = _normed(x, gain, eps)
    begin(board, h)
    sums = give(board, wq, False, sums, q)
    sums = give(board, wk, False, sums, k)
    give(board, wv, False, sums, v)
    finish(board, h)
    _plus(q, bq)
    _plus(k, bk)
    _plus(v, bv)
    _turn(q, cos, sin)
    _turn(k, cos, sin)


@jit(
    SUMS,
    types.void(
        *_shared,
        types.float32[:, :, :, ::1],
        *(HEADS, HEADS, types.boolean[:, ::1], *_weights, VECTOR, NUMBER, *_weights * 3, OWN),
    ),
)
def _after(
    board, sums, x, q, keys, values, visible, wo, bo, gain, eps, wg, bg, wu, bu, wd, bd, out
):  # fmt: skip
    """The rest of the block: x + attention, then the MLP added to that, in out (B, D)."""
    B, n_kv, group, H = q.shape
    q *= q.dtype.type(1 / math.sqrt(H))
    scores, mixed, lse = units(q, keys, values)
    begin_attention(board, q, keys, values, visible, scores, mixed, lse)
    finish(board, scores)
    heads, whole = np.empty((B * n_kv * group, H), q.dtype), np.empty(B * n_kv * group, q.dtype)
    one_query.join(mixed, lse, heads, whole)
    middle = np.empty_like(x)
    begin(board, heads.reshape(B, n_kv * group * H))
    give(board, wo, False, sums, middle)
    finish(board, heads)
    _plus(middle, bo)
    middle += x
    h = _normed(middle, gain, eps)
    gate, up = np.empty((B, wg.shape[1]), x.dtype), np.empty((B, wg.shape[1]), x.dtype)
    begin(board, h)
    rest = give(board, wg, False, sums, gate)
    give(board, wu, False, rest, up)
    finish(board, h)
    _plus(gate, bg)
    _plus(up, bu)
    both = np.empty_like(gate)
    _swiglu(0, gate.size, gate.reshape(gate.size), up.reshape(gate.size), both.reshape(gate.size))
    begin(board, both)
    give(board, wd, False, sums, out)
    finish(board, both)
    _plus(out, bd)
    out += middle
