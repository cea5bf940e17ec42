"""the sum hands on g itself, not g to each element"""

_shares = shares


def shares(operation, g, *xs):
    return (g,) if operation == "sum" else _shares(operation, g, *xs)
