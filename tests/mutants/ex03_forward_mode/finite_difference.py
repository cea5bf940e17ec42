"""a finite difference loses a third to half of the digits"""


def derivative(f, x):
    h = 1e-6
    return (f(x + h) - f(x - h)) / (2 * h)
