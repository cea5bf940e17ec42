"""the scores are not cut, but each rank has its own heads"""


def activation_bytes(s, b, h, a, t, kind):
    if kind == "tensor":
        return s * b * h * (10 + 24 / t + 5 * a * s / h)
    return s * b * h * (34 / t + 5 * a * s / h)
