"""a finite difference loses a third to half of the digits"""


def puzzle(nested, x):
    h = 1e-5
    return (nested(derivative, x + h) - nested(derivative, x - h)) / (2 * h)
