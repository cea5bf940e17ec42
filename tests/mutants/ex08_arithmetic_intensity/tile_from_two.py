"""T may be 1"""


def smallest_tile(peak, bandwidth, itemsize):
    T = 2
    while T / itemsize <= peak / bandwidth:
        T *= 2
    return T
