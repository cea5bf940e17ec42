"""the inner derivative is taken for a constant, but x moves in it too"""


def puzzle(nested, x):
    def number_only(f, y):
        slope = derivative(f, y)
        while isinstance(slope, Dual):
            slope = slope.value
        return slope

    return derivative(lambda x: nested(number_only, x), x)
