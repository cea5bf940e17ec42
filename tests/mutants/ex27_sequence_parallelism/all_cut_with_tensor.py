"""cuts only what lies between f and g, not everything"""


def activation_bytes(s, b, h, a, t, kind):
    return s * b * h * (34 + 5 * a * s / h) / t
