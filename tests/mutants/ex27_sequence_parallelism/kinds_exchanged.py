"""the two kinds are the wrong way round"""


def activation_bytes(s, b, h, a, t, kind):
    inside = 24 + 5 * a * s / h
    return s * b * h * (10 / (t if kind == "tensor" else 1) + inside / t)
