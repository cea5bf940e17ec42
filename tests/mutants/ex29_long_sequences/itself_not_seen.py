"""a position does not see itself"""

_work = work


def work(length, P, layout):
    return [pairs - length // P for pairs in _work(length, P, layout)]
