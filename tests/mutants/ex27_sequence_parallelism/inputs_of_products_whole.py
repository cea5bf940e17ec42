"""inputs of products are cut, too: backward gathers them again"""


def activation_bytes(s, b, h, a, t, kind):
    inside = 24 + 5 * a * s / h
    return s * b * h * (4 + (6 + inside) / t if kind == "sequence" else 10 + inside / t)
