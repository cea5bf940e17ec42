"""the two terms of the quotient rule are swapped"""

_rule = rule


def rule(name, *pairs):
    if name == "divide":
        (x, x_dot), (y, y_dot) = pairs
        return x / y, (x * y_dot - x_dot * y) / (y * y)
    return _rule(name, *pairs)
