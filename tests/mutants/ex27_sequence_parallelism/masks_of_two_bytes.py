"""the masks are counted with 2 bytes an element; they have 1"""


def activation_bytes(s, b, h, a, t, kind):
    inside = 24 + 6 * a * s / h
    outside = 12
    return s * b * h * (outside / (t if kind == "sequence" else 1) + inside / t)
