"""each parent gets g times its own value, not times the other one"""

_shares = shares


def shares(operation, g, *xs):
    if operation == "multiply":
        x, y = xs
        return g * x, g * y
    return _shares(operation, g, *xs)
