"""What attention in 8-bit floats would lose, emulated in NumPy: the last idea of the third
FlashAttention (Shah et al., 2024, section 3.3), whose products run twice as fast as 16-bit ones.

An e4m3 number has three bits of mantissa and reaches 448. A few large entries of Q or K force a
large scale on all the others of their tensor. Two remedies: a scale for each block of rows, and
Q M and K M in the place of Q and K, with M orthogonal, so that Q M Mᵀ Kᵀ = Q Kᵀ but each large
entry is spread over its row.
"""

import ml_dtypes
import numpy as np

from kernels._host import integer

E4M3 = np.dtype(ml_dtypes.float8_e4m3fn)
LARGEST = 448.0


def rounded(x, rows=None):
    """x (..., L, H) after a scaled way through e4m3, float32; a scale for the whole of x, or one
    for each ``rows`` rows."""
    x = np.asarray(x, np.float32)
    out = np.empty_like(x)
    if not x.size:
        return out
    step = x.shape[-2] if rows is None else integer("rows", rows, 1)
    for start in range(0, x.shape[-2], step):
        part = x[..., start : start + step, :]
        largest = np.abs(part).max(axis=(-2, -1), keepdims=True) if rows else np.abs(x).max()
        scale = np.maximum(largest, np.finfo(np.float32).tiny) / LARGEST
        out[..., start : start + step, :] = (part / scale).astype(E4M3).astype(np.float32) * scale
    return out


def spreading(H, rng):
    """An orthogonal (H, H) matrix with entries of one size, H a power of 2: a Hadamard matrix, its
    rows with random signs. A GPU multiplies by it in H log H steps. Raises ValueError."""
    if integer("H", H) < 1 or H & (H - 1):
        raise ValueError(f"H is {H}; expected a power of 2")
    matrix = np.ones((1, 1), np.float32)
    while len(matrix) < H:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return rng.choice(np.float32([-1, 1]), (H, 1)) * matrix / np.float32(H**0.5)


def fp8_attention(q, k, v, rows=None, spread=None):
    """softmax(Q Kᵀ / sqrt(H)) V with Q, K, V and the weights in e4m3 and sums in float32:
    (..., L, H), (..., S, H), (..., S, H) -> (..., L, H). rows: those that share a scale; spread: a
    matrix of ``spreading``. Has the scores in memory."""
    if spread is not None:
        q, k = q @ spread, k @ spread
    q, k, v = (rounded(each, rows) for each in (q, k, v))
    scores = q @ np.swapaxes(k, -1, -2) * np.float32(q.shape[-1] ** -0.5)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    total = weights.sum(axis=-1, keepdims=True)
    # The weights of a row reach 1, so that one scale serves all.
    return (weights * LARGEST).astype(E4M3).astype(np.float32) @ v / (total * np.float32(LARGEST))


def exact(q, k, v):
    """The same in float64."""
    q, k, v = (np.asarray(each, np.float64) for each in (q, k, v))
    scores = q @ np.swapaxes(k, -1, -2) * q.shape[-1] ** -0.5
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights @ v / weights.sum(axis=-1, keepdims=True)


def error_table(L=512, H=64, seed=0):
    """{what: root mean square error of attention so computed}, on the published experiment's
    numbers: standard normal, and one in a thousand with ten times the deviation."""
    rng = np.random.default_rng(seed)
    q, k, v = (
        rng.normal(size=(L, H)) + 10 * rng.normal(size=(L, H)) * (rng.random((L, H)) < 1e-3)
        for _ in range(3)
    )
    spread = spreading(H, rng)
    found = {
        "float16": exact(*(each.astype(np.float16) for each in (q, k, v))).astype(np.float16),
        "e4m3, one scale": fp8_attention(q, k, v),
        "e4m3, a scale for 64 rows": fp8_attention(q, k, v, rows=64),
        "e4m3, spread": fp8_attention(q, k, v, spread=spread),
        "e4m3, both": fp8_attention(q, k, v, rows=64, spread=spread),
    }
    want = exact(q, k, v)
    return {what: float(np.sqrt(np.mean((out - want) ** 2))) for what, out in found.items()}
