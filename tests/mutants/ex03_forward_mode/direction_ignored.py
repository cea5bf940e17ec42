"""the direction is ignored: every input moves at speed 1"""


def jvp(f, xs, us):
    level = next(levels)
    outputs = f(*(Dual(x, 1.0 + 0.0 * x, level) for x in xs))
    values, tangents = zip(*(seen_from(level, y) for y in outputs))
    return values, tangents
