"""the share of the divisor has the wrong sign"""

_shares = shares


def shares(operation, g, *xs):
    if operation == "divide":
        x, y = xs
        return g / y, g * x / (y * y)
    return _shares(operation, g, *xs)
