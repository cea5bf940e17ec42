"""the tangent of a product is not the product of the tangents"""

_rule = rule


def rule(name, *pairs):
    if name == "multiply":
        (x, x_dot), (y, y_dot) = pairs
        return x * y, x_dot * y_dot
    return _rule(name, *pairs)
