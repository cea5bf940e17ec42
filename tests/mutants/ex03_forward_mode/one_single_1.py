"""x moves with one single 1, not with a 1 for each of its elements"""


def derivative(f, x):
    level = next(levels)
    return seen_from(level, f(Dual(x, 1.0, level)))[1]
