"""the angles are rounded to float32 before cos and sin; far ones lose digits by that"""


def rotary(x, positions, base=10_000.0):
    half = x.shape[-1] // 2
    angles = (positions[:, None] * base ** (-np.arange(half) / half)).astype(x.dtype)
    a, b = x[..., :half], x[..., half:]
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
