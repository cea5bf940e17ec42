"""FlashAttention's backward pass: the probabilities are made again, tile by tile, from the
log-sum-exp that forward saved (Dao et al., 2022, algorithm 4; Dao, 2023, algorithm 2).

With S = scale Q Kᵀ + mask, P = exp(S - lse) and O = P V, and dO given:

    delta = rowsum(dO * O)        which is rowsum(P * dP), without P
    dV = Pᵀ dO
    dP = dO Vᵀ
    dS = P * (dP - delta)
    dK = scale dSᵀ Q
    dQ = scale dS K

dV and dK are sums over queries, dQ is a sum over keys. One pass that makes dS once would have to
add to dQ (or dK) from many blocks, in whatever order they come. Here nobody adds to another's
numbers, so that every run gives the same bits: one kernel owns a tile of keys and goes over the
queries, another owns a tile of queries and goes over the keys. S and dP are made twice, which is 7
products of size L x S x H where a pass with atomics has 5.
"""

from typing import NamedTuple

import numpy as np

from kernels._flash_backward import LOG2E, PAD, row_statistics
from kernels._host import aligned, attention_scale, ceil_div, check, empty, flag, namespace
from kernels.flash_backward_fp32 import Patches, key_pass_float32, query_pass_float32
from kernels.flash_backward_tensor import Tiles, key_pass, query_pass
from kernels.flash_backward_wgmma import Groups, key_pass_wgmma, query_pass_wgmma

DTYPES = "float32", "float16", "bfloat16"


PASSES = {  # the kernels that tiles of a kind belong to: of the keys, of the queries
    Patches: (key_pass_float32, query_pass_float32),
    Tiles: (key_pass, query_pass),
    Groups: (key_pass_wgmma, query_pass_wgmma),
}


def best_patches(H):
    """What was measured best on an H100 in float32 for heads of width H: the tiles of the key pass
    and of the query pass."""
    if H <= 32:
        return (Patches(8, 8, 4, 4, 4),) * 2
    if H <= 64:
        return (Patches(8, 16, 8, 4, 2),) * 2
    return (Patches(16, 16, 4, 2, 1) if H <= 128 else Patches(16, 16, 2, 2, 1),) * 2


def best_tiles(H):
    """The same on tensor cores, by mma."""
    if H <= 64:
        return Tiles(4, 2, 32, False, 2), Tiles(4, 2, 32, True, 2)
    if H <= 128:
        return Tiles(4, 1, 64, False, 2), Tiles(4, 1, 64, True, 2)
    return Tiles(4, 1, 32, False, 1, 2), Tiles(4, 1, 32, False, 1)


def best_groups(H):
    """The same by wgmma; where its sums would not fit in the registers, by mma."""
    if H <= 32 or H > 128:
        return best_tiles(H)
    return (Groups(1, 64, 2), Groups(2, 64, 2)) if H <= 64 else (Groups(2, 64, 1),) * 2


class Rung(NamedTuple):
    """A rung of the ladder: its name, the idea it adds, how many times faster than the one before
    it should be, the dtypes that it takes, and a function of H that gives its tiles."""

    name: str
    idea: str
    gain: float
    dtypes: tuple
    tiles: object


LADDER = (
    Rung("patches", "scores made again by tiles, sums in registers", 1.0, DTYPES[:1], best_patches),
    Rung(
        "tensor cores",
        "five products by mma, P and dS never leaving registers",
        9.0,
        DTYPES[1:],
        best_tiles,
    ),
    Rung(
        "warpgroups",
        "wgmma reads tiles once for four warps, and works on meanwhile",
        1.4,
        DTYPES[1:],
        best_groups,
    ),
)


def flash_attention_backward(
    dout, q, k, v, out, lse, *, causal=False, mask=None, scale=None, tiles=None
):
    """The gradients (dq, dk, dv) of attention, given that of its output.

    q, out, dout (B, n_h, L, H); k, v (B, n_kv, S, H), where n_kv divides n_h; lse (B, n_h, L)
    float32, the logarithm of each row's sum of exp of scores, as forward saved it; all others of
    one dtype, float32, float16 or bfloat16, with H a multiple of 8 up to 256.
    ``mask``, which has no gradient here, broadcasts to (B, n_h, L, S): bool, True attends, or
    floats that are added to the scores. ``causal``: query i sees keys up to i + S - L. ``scale``:
    1 / sqrt(H) unless told. ``tiles``: of the key pass and of the query pass, in place of those
    that the ladder's rung for this device and dtype has.

    Deterministic: the same bits each time. No memory grows with L x S. Raises TypeError and
    ValueError, naming the argument, before anything is launched.
    """
    kind = _checked(dout, q, k, v, out, lse, mask)
    scale, causal = attention_scale(scale, q.shape[3]), flag("causal", causal)
    if tiles is not None:
        _check_tiles(tiles, kind)
    B, n_h, L, H = q.shape
    n_kv, S = k.shape[1:3]
    dq, dk, dv = empty(q, q.shape), empty(k, k.shape), empty(v, v.shape)
    if not q.size or not k.size:  # sums of nothing
        for gradient in (dq, dk, dv):
            gradient[...] = 0
        return dq, dk, dv
    if tiles is None:
        rung = 0 if kind == "float32" else 2 if capability(q) == "90" else 1
        tiles = LADDER[rung].tiles(H)
    key_tiles, query_tiles = tiles
    if PAD % key_tiles.step or PAD % query_tiles.rows:
        raise ValueError(f"{key_tiles}, {query_tiles}: tiles of queries do not divide {PAD} rows")
    stats = empty(q, (2, B * n_h, ceil_div(L, PAD) * PAD), "float32")
    grid = stats.shape[2] // 32, B * n_h
    row_statistics(H, kind)[grid, 256](dout, out, lse.reshape(B * n_h, L), stats)
    masks = "none" if mask is None else "bool" if mask.dtype == bool else "float"
    mask = stats if mask is None else namespace(mask=mask).broadcast_to(mask, (B, n_h, L, S))
    scales = np.float32(scale * LOG2E), np.float32(scale)
    given = q, k, v, dout, stats, mask
    keys = PASSES[type(key_tiles)][0](H, kind, key_tiles, causal, masks)
    grid = ceil_div(S, key_tiles.rows) * key_tiles.parts, n_kv, B
    keys[grid, key_tiles.threads, None, key_tiles.shared(H)](*given, dk, dv, *scales)
    queries = PASSES[type(query_tiles)][1](H, kind, query_tiles, causal, masks)
    grid = ceil_div(L, query_tiles.rows), n_h, B
    queries[grid, query_tiles.threads, None, query_tiles.shared(H)](*given, dq, *scales)
    return dq, dk, dv


def _check_tiles(tiles, kind):
    """That these are tiles of the two passes for a dtype. Raises TypeError."""
    fit = (Patches,) if kind == "float32" else (Tiles, Groups)
    pair = isinstance(tiles, list | tuple) and len(tiles) == 2
    if not pair or not all(isinstance(each, fit) for each in tiles):
        names = " or ".join(each.__name__ for each in fit)
        raise TypeError(f"tiles are {tiles!r}; expected two {names} for {kind}")


def _checked(dout, q, k, v, out, lse, mask):
    """The name of the dtype of arrays that fit together. Raises TypeError and ValueError."""
    namespace(q=q, k=k, v=v, dout=dout, out=out, lse=lse, mask=mask)
    check("q", q, DTYPES, ndim=4)
    kind = q.dtype.name
    check("k", k, (kind,), ndim=4)
    check("v", v, (kind,), shape=k.shape)
    for name, array in (("dout", dout), ("out", out)):
        check(name, array, (kind,), shape=q.shape)
    check("lse", lse, ("float32",), shape=q.shape[:3])
    (B, n_h, L, H), (n_kv, S) = q.shape, k.shape[1:3]
    if k.shape[0] != B or k.shape[3] != H:
        raise ValueError(f"q {q.shape} and k {k.shape} differ in batch or width of heads")
    if n_kv == 0 or n_h % n_kv:
        raise ValueError(f"{n_h} query heads do not divide by {n_kv} key-value heads")
    if H % 8 or not 8 <= H <= 256:
        raise ValueError(f"heads of width {H}; expected a multiple of 8 from 8 to 256")
    if max(B, B * n_h) > 65535:
        raise ValueError(f"batch {B} times {n_h} heads; a launch takes 65,535")
    if mask is not None:
        if mask.dtype.name not in ("bool", *DTYPES):
            raise TypeError(f"mask is {mask.dtype.name}; expected bool or {' or '.join(DTYPES)}")
        wants = (B, n_h, L, S)[4 - mask.ndim :]
        if mask.ndim > 4 or any(n not in (1, want) for n, want in zip(mask.shape, wants)):
            raise ValueError(f"mask {mask.shape} does not broadcast to {(B, n_h, L, S)}")
        aligned("mask", mask)
    return kind


def capability(array):
    """The compute capability of an array's device, "80" or "90"; None for the simulator."""
    return None if isinstance(array, np.ndarray) else array.device.compute_capability
