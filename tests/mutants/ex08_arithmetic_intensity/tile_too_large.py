"""one step too large, as if a multiplication and an addition were 1 FLOP"""


def smallest_tile(peak, bandwidth, itemsize):
    T = 1
    while T / (2 * itemsize) <= peak / bandwidth:
        T *= 2
    return T
