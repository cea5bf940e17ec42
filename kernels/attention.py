"""Attention of a Tensor on a GPU: FlashAttention behind the op's own rule."""

import math

from kernels._host import address, attention_scale, namespace, present
from kernels.decode_attention import WIDTHS, decode_attention
from kernels.flash_attention import flash_attention
from kernels.flash_backward import DTYPES, flash_attention_backward


class scaled_dot_product_attention:
    """q (B, n_h, L, H), k and v (B, n_kv, S, H) -> softmax(q kᵀ scale + mask) v, (B, n_h, L, H).

    Saved: q, k, v, the mask, the output, and the log-sum-exp (B, n_h, L) of the scores.
    """

    dtypes = DTYPES

    @staticmethod
    def supports(q, k, v, mask, *, causal, scale):
        return (
            q.ndim == k.ndim == v.ndim == 4
            and k.shape == v.shape
            and q.shape[0] == k.shape[0]
            and q.shape[3] == k.shape[3]
            and k.shape[1] > 0
            and q.shape[1] % k.shape[1] == 0
            and 0 < q.shape[3] <= 256
            and q.shape[3] % 8 == 0
            and _usable(scale)
            and q.shape[0] * q.shape[1] < 65536
            and _broadcasts(mask, (*q.shape[:3], k.shape[2]))
        )

    @staticmethod
    def forward(q, k, v, mask=None, *, causal=False, scale=None):
        namespace(q=q, k=k, v=v, mask=mask)
        present(q=q, k=k, v=v)
        q, k, v, mask = map(_ready, (q, k, v, mask))
        if q.ndim == 4 and q.shape[2] == 1 and k.size and mask is None and q.shape[3] in WIDTHS:
            # One query a head: the keys are divided among blocks, and the last query sees them all.
            lengths = namespace(q=q).full(q.shape[0], k.shape[2], "int32")
            out, lse = decode_attention(q, k, v, lengths, scale, return_lse=True)
        else:
            out, lse = flash_attention(q, k, v, causal=causal, mask=mask, scale=scale)
        return out, (q, k, v, mask, out, lse)

    @staticmethod
    def backward(g, saved, needs=(True, True, True, False), *, causal=False, scale=None):
        q, k, v, mask, out, lse = saved
        g, options = _ready(g), dict(causal=causal, mask=mask, scale=scale)
        grads = flash_attention_backward(g, q, k, v, out, lse, **options)
        grads = [grad if need else None for grad, need in zip(grads, needs)]
        return *grads, _mask_grad(g, saved, **options) if needs[3] and mask is not None else None


def _usable(scale):
    try:
        attention_scale(scale, 1)
    except (TypeError, ValueError):
        return False
    return True


def _broadcasts(mask, shape):
    """Whether a mask is None, or bool or floats of a shape that broadcasts to this one."""
    if mask is None:
        return True
    sizes = shape[4 - mask.ndim :] if mask.ndim <= 4 else ()
    return (
        mask.dtype.name in ("bool", *DTYPES)
        and len(sizes) == mask.ndim
        and all(n in (1, size) for n, size in zip(mask.shape, sizes))
    )


def _ready(x):
    """The array, or a copy, as the kernels read it: C-contiguous from a boundary of 16 bytes."""
    if x is None:
        return None
    x = namespace(x=x).ascontiguousarray(x)
    return x.copy() if x.size and address(x) % 16 else x


def _mask_grad(g, saved, causal, mask, scale):
    """dS = P (dP - delta), summed to the mask's shape. It is made whole: a mask that is learned is
    mostly L x S itself."""
    q, k, v, _, out, lse = saved
    xp = namespace(q=q)
    group = q.shape[1] // k.shape[1]
    q, k, v, out, g = (x.astype("float32") for x in (q, k, v, out, g))
    k, v = (xp.repeat(x, group, axis=1).swapaxes(-1, -2) for x in (k, v))
    scores = q @ k * (1 / math.sqrt(q.shape[3]) if scale is None else scale) + mask
    if causal:
        seen = xp.tri(*scores.shape[2:], k=scores.shape[3] - scores.shape[2], dtype=bool)
        scores = xp.where(seen, scores, -xp.inf)
    p = xp.exp(scores - xp.where(xp.isfinite(lse), lse, xp.inf)[..., None])
    ds = p * (g @ v - (g * out).sum(axis=-1, keepdims=True))
    ds = ds.sum(axis=tuple(range(4 - mask.ndim)))
    kept = tuple(i for i, n in enumerate(mask.shape) if n == 1)
    return ds.sum(axis=kept, keepdims=True).astype(mask.dtype)
