"""The angles of rotary positions (Su et al., 2021)."""

import numpy as np

from minigrad import backend


def rotary_tables(positions, d_head, base=10_000.0, dtype=np.float32):
    """(cos, sin) of the angles position · base^(−2i/H), i from 0 to H/2 − 1; each (…, H/2).

    Arguments: positions, integers (…); d_head, H, even; dtype, that of the result, but never below
    float32. ``mg.rotary`` turns queries and keys by them. Raises ValueError for an odd H.

    The angles themselves are computed in float64: in float32 those of position 1,000 are off by
    2e-5 already.
    """
    if d_head < 2 or d_head % 2:
        raise ValueError(f"rotary_tables: d_head is {d_head}; expected an even number")
    exponents = np.arange(0, d_head, 2) / d_head
    frequencies = backend.beside(float(base) ** -exponents, positions)
    angles = positions[..., None] * frequencies  # (…) -> (…, H/2)
    wide = np.float64 if backend.as_dtype(dtype) == np.float64 else np.float32
    return np.cos(angles).astype(wide), np.sin(angles).astype(wide)
