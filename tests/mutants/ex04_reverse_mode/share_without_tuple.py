"""a share alone is no tuple of one share"""

_shares = shares


def shares(operation, g, *xs):
    result = _shares(operation, g, *xs)
    return result[0] if len(result) == 1 else result
