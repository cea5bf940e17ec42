"""Scaled dot-product attention (Vaswani et al., 2017), grouped key-value heads included."""

import math

import numpy as np

from minigrad import backend
from minigrad.engine import fused, plain
from minigrad.ops.elementwise import where
from minigrad.ops.linalg import matmul
from minigrad.ops.neural import softmax
from minigrad.ops.shape import reshape, swapaxes


@fused
def scaled_dot_product_attention(q, k, v, mask=None, /, causal=False, scale=None):
    """``softmax(q @ k.T * scale) @ v`` over each head.

    q (B, n_h, Lq, H); k and v (B, n_kv, Lk, H) with n_kv dividing n_h: query head i reads key-value
    head i // (n_h / n_kv). ``mask`` broadcasts to (B, n_h, Lq, Lk): bool, True attends; or floats
    that are added to the scores. ``causal``: query i sees keys up to i + Lk - Lq (bottom right).
    ``scale`` is 1/sqrt(H) if not given. Returns (B, n_h, Lq, H); a query that sees nothing gets 0.
    """
    check_attention_shapes(q, k, v, mask)
    B, n_h, Lq, H = q.shape
    n_kv, Lk = k.shape[1:3]
    scale = 1 / math.sqrt(H) if scale is None else scale
    grouped = (B, n_kv, n_h // n_kv, Lq, H)
    q = reshape(q, grouped)
    k, v = (reshape(x, (B, n_kv, 1, Lk, x.shape[-1])) for x in (k, v))
    scores = matmul(q * scale, swapaxes(k, -1, -2))  # (B, n_kv, group, Lq, Lk)
    if mask is not None:
        full = reshape(mask, (1,) * (4 - mask.ndim) + tuple(mask.shape))
        heads = (n_kv, n_h // n_kv) if full.shape[1] == n_h else (1, 1)
        full = reshape(full, (full.shape[0], *heads, *full.shape[2:]))
        if backend.is_floating(mask.dtype):
            scores = scores + full
        else:
            scores = where(full, scores, -math.inf)
    if causal:
        scores = where(backend.beside(causal_mask(Lq, Lk), plain(q)), scores, -math.inf)
    return reshape(matmul(softmax(scores, axis=-1), v), (B, n_h, Lq, v.shape[-1]))


scaled_dot_product_attention.kernel("cpu", "minigrad.cpu.attention:scaled_dot_product_attention")
scaled_dot_product_attention.kernel("cuda", "kernels.attention:scaled_dot_product_attention")


def causal_mask(Lq, Lk):
    """(Lq, Lk) bool: query i may see keys up to i + Lk - Lq, so that the last sees all."""
    return np.tri(Lq, Lk, k=Lk - Lq, dtype=bool)


def check_attention_shapes(q, k, v, mask):
    """Raise ValueError, saying which shape is wrong, unless the four fit together."""
    shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
    if not q.ndim == k.ndim == v.ndim == 4:
        raise ValueError(f"expected (batch, heads, length, width), got {shapes}")
    if q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3] or k.shape[:3] != v.shape[:3]:
        raise ValueError(f"batch, key length or width differ: {shapes}")
    if k.shape[1] == 0 or q.shape[1] % k.shape[1]:
        raise ValueError(f"{q.shape[1]} query heads do not divide by {k.shape[1]} key-value heads")
    if mask is not None:
        want = (q.shape[0], q.shape[1], q.shape[2], k.shape[2])
        got = tuple(plain(mask).shape)
        if len(got) > 4 or any(a not in (1, b) for a, b in zip(got[::-1], want[::-1])):
            raise ValueError(f"mask {got} does not broadcast to (B, n_h, Lq, Lk) = {want}")
