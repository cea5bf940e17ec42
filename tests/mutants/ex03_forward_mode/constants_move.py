"""a constant is given a tangent of 1, but it does not move"""


def seen_from(level, x):
    if isinstance(x, Dual) and x.level == level:
        return x.value, x.tangent
    return x, 1.0 + 0.0 * x
