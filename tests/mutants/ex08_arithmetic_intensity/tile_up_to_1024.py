"""expected: 2048"""


def smallest_tile(peak, bandwidth, itemsize):
    T = 1
    while T < 1024 and T / itemsize <= peak / bandwidth:
        T *= 2
    return T
