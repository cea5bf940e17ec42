"""this is nested itself; asked is its derivative"""


def puzzle(nested, x):
    return nested(derivative, x)
