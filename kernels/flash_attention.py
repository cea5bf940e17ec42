"""FlashAttention's forward pass: softmax(scale Q Kᵀ + mask) V, and no L x S array anywhere.

Shapes: q (B, n_h, L, H), k and v (B, n_kv, S, H), out as q, lse (B, n_h, L). Query i sees keys 0 to
S - L + i if causal: the last query sees the last key.

Standard attention writes L x S scores to device memory, reads them for softmax, writes the weights,
and reads them again; at H = 64 that is most of its time. The sum over keys can be made in pieces:
with (top, total, sums) the largest score, the sum of weights exp(score - top) and the weighted sum
of values over some keys, two pieces are joined by

    top   = max(top1, top2)
    total = exp(top1 - top) total1 + exp(top2 - top) total2
    sums  = exp(top1 - top) sums1  + exp(top2 - top) sums2

and in the end out = sums / total, lse = top + log(total). So tiles of keys are visited one after
the other and forgotten; backward makes the weights again from lse. Memory grows with L, not L²; the
arithmetic stays 4 L S H a head. (Dao et al., 2022; Dao, 2023; Shah et al., 2024.)

LADDER has the rungs: what they are and what each was meant to gain.
"""

import math

import numpy as np

from kernels._host import attention_scale, check, empty, flag, namespace
from kernels._ladder import Rung
from kernels.flash_forward_first import run_keys_outside, run_one_thread
from kernels.flash_forward_fp32 import run_fp32
from kernels.flash_forward_tensor import run_tensor_cores
from kernels.flash_forward_wgmma import run_asynchronous

DTYPES = ("float32", "float16", "bfloat16")
MOST_WIDTH = 256


# Each rung's launch takes (q, k, v, mask, kind of mask, out, lse, unit, causal).
LADDER = (
    Rung(
        "one thread",
        "online softmax: one pass over the keys",
        1.0,
        "a load from a cache for each multiply-add, and one query's sums in local memory",
        run_one_thread,
        DTYPES,
    ),
    Rung(
        "keys outside",
        "tiles in shared memory; outputs rescaled in device memory, in v1's order",
        0.3,
        "K and V are read once, but there are only as many blocks as heads",
        run_keys_outside,
        DTYPES[:1],
    ),
    Rung(
        "queries outside",
        "a block keeps its queries and their outputs in registers (v2); tiles of registers",
        20.0,
        "from under 2 TFLOP/s to what the same tiles reach in matmul.py",
        run_fp32,
        DTYPES[:1],
    ),
    Rung(
        "tensor cores",
        "both products by mma, the weights staying in registers between them",
        8.0,
        "products 10 times faster, exponentials not",
        run_tensor_cores,
        DTYPES[1:],
    ),
    Rung(
        "asynchronous",
        "wgmma, the copy engine, and softmax behind the products (v3)",
        1.5,
        "tensor cores 1.6 times faster, and busy during softmax",
        run_asynchronous,
        DTYPES[1:],
    ),
)


def best_rung(q):
    """The rung for an array's dtype and device."""
    if q.dtype == np.float32:
        return LADDER[2]
    hopper = not isinstance(q, np.ndarray) and q.device.compute_capability == "90"
    return LADDER[4 if hopper else 3]


def flash_attention(q, k, v, *, causal=False, mask=None, scale=None):
    """Attention and the log-sum-exp of its scores: (out (B, n_h, L, H), lse (B, n_h, L) float32).

    q: (B, n_h, L, H), k and v: (B, n_kv, S, H), all float32, float16 or bfloat16; n_kv divides n_h,
    and n_h / n_kv heads of q share one of k and v. H is a multiple of 8 up to 256. mask: up to 4
    axes that broadcast to (B, n_h, L, S), bool (True: the query may see the key) or a float dtype
    (added to the scores). scale: a positive number, 1 / sqrt(H) unless told. A query that sees no
    key gets zeros and -inf.

    Results are the same bits in each run. Raises TypeError or ValueError before any launch.
    """
    namespace(q=q, k=k, v=v, mask=mask)
    check("q", q, DTYPES, 4)
    return attend(best_rung(q), q, k, v, causal=causal, mask=mask, scale=scale)


def attend(rung, q, k, v, *, causal=False, mask=None, scale=None):
    """``flash_attention`` by one rung of the ladder."""
    namespace(q=q, k=k, v=v, mask=mask)
    _check_inputs(rung, q, k, v)
    B, heads, L, H = q.shape
    S = k.shape[2]
    scale, causal = attention_scale(scale, H), flag("causal", causal)
    mask, kind = _checked_mask(mask, (B, heads, L, S))
    out, lse = empty(q, q.shape), empty(q, (B, heads, L), np.float32)
    if q.size and S:
        unit = np.float32(scale * math.log2(math.e))  # scores in base 2, where exp costs one step
        rung.launch(q, k, v, mask, kind, out, lse, unit, causal)
    else:
        out[...] = 0
        lse[...] = -np.inf
    return out, lse


def _check_inputs(rung, q, k, v):
    check("q", q, rung.dtypes, 4)
    B, heads, _, H = q.shape
    if H % 8 or not 8 <= H <= MOST_WIDTH:
        raise ValueError(f"heads of width {H}; expected a multiple of 8 from 8 to {MOST_WIDTH}")
    check("k", k, (q.dtype.name,), 4, (B, None, None, H))
    check("v", v, (q.dtype.name,), 4, k.shape)
    if k.shape[1] == 0 or heads % k.shape[1]:
        raise ValueError(f"{heads} heads of q cannot share {k.shape[1]} of k: it does not divide")


def _checked_mask(mask, shape):
    """(the mask with four axes, its kind), which is None if there is no mask."""
    if mask is None:
        return 0, None
    check("mask", mask, ("bool", *DTYPES))
    sizes = (1,) * (4 - mask.ndim) + mask.shape
    if len(sizes) != 4 or any(have not in (1, want) for have, want in zip(sizes, shape)):
        raise ValueError(f"mask has shape {mask.shape}, which does not broadcast to {shape}")
    return mask.reshape(sizes), "bool" if mask.dtype == bool else "add"
