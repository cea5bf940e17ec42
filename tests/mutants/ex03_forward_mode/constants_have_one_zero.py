"""a constant's tangent is one 0, not zeros of the constant's shape"""


def seen_from(level, x):
    if isinstance(x, Dual) and x.level == level:
        return x.value, x.tangent
    return x, 0.0
