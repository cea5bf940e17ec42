"""the angles are float32, which has too few digits for far positions"""


def rotary(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    speeds = np.asarray(base, x.dtype) ** (-np.arange(half) / half).astype(x.dtype)
    angles = positions.astype(x.dtype)[:, None] * speeds  # (L, H/2)
    a, b = x[..., :half], x[..., half:]
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
