"""The angles of rotary positions (Su et al., 2021)."""

import numpy as np

from minigrad import backend


def rotary_tables(positions, d_head, base=10_000.0, dtype=np.float32):
    """(cos, sin) of the angles position · base^(−2i/H), i from 0 to H/2 − 1; each (…, H/2).

    Arguments: positions, integers (…); d_head, H, even; dtype, that of the result and of
    the angles, but never below float32: 16 bits could not tell positions apart.
    ``mg.rotary`` turns queries and keys by them. Raises ValueError for an odd H.
    """
    if d_head < 2 or d_head % 2:
        raise ValueError(f"rotary_tables: d_head is {d_head}; expected an even number")
    wide = np.float64 if backend.as_dtype(dtype) == np.float64 else np.float32
    exponents = np.arange(0, d_head, 2, dtype=wide) / wide(d_head)
    frequencies = backend.beside(1 / wide(base) ** exponents, positions)
    angles = positions[..., None].astype(wide) * frequencies  # (…) -> (…, H/2)
    return np.cos(angles), np.sin(angles)
