"""one step too large, as with 1 FLOP for a multiplication and an addition"""


def smallest_tile(peak, bandwidth, itemsize):
    T = 1
    while T / (2 * itemsize) <= peak / bandwidth:
        T *= 2
    return T
