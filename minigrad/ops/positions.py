"""Rotary positions: queries and keys turned by angles that grow with their position."""

import numpy as np

from minigrad import backend
from minigrad.engine import fused, plain
from minigrad.ops.elementwise import astype
from minigrad.ops.shape import concatenate


def rotary(x, cos, sin):
    """Each pair (x[i], x[i + H/2]) of the last axis turned by the angle with that cosine and sine.

    x (..., H) with H even; cos and sin, arrays without derivatives that broadcast to (..., H/2), as
    ``nn.rotary_tables`` makes them, on any device. Halves are paired as in Hugging Face's models,
    not neighbours as in the paper (Su et al., 2021). Returns (..., H) in the dtype of x. Raises
    ValueError for shapes that do not fit.
    """
    cos, sin = (backend.beside(plain(table), plain(x)) for table in (cos, sin))
    half, shape = x.shape[-1] // 2 if x.ndim else 0, tuple(cos.shape)
    fits = x.ndim and x.shape[-1] % 2 == 0 and cos.ndim and shape[-1] == half and cos.ndim <= x.ndim
    wanted = (*x.shape[:-1], half)
    if not fits or any(n not in (1, m) for n, m in zip(shape[::-1], wanted[::-1])):
        raise ValueError(f"rotary: cos {shape} does not fit x {tuple(x.shape)}, expected {wanted}")
    if tuple(sin.shape) != shape:
        raise ValueError(f"rotary: cos has shape {shape} and sin {tuple(sin.shape)}")
    return _rotary(x, cos=cos, sin=sin)


@fused
def _rotary(x, /, cos, sin):
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    out = concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
    return out if out.dtype == x.dtype else astype(out, dtype=x.dtype)


_rotary.vjp(lambda g, cos, sin: _rotary(g, cos=cos, sin=np.negative(sin)))
_rotary.multilinear()
_rotary.kernel("cpu", "minigrad.cpu.rotary:rotary")
