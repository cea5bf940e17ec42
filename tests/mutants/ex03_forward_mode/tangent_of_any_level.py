"""levels are shared, or it does not ask of which level the tangent is"""


def puzzle(nested, x):
    def slope(f, x):
        result = f(Dual(x, 1.0 + 0.0 * x, next(levels)))
        return result.tangent if isinstance(result, Dual) else 0.0

    return slope(lambda x: nested(slope, x), x)
