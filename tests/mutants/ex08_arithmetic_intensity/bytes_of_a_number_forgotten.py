"""the bytes of a number are forgotten"""


def smallest_tile(peak, bandwidth, itemsize):
    T = 1
    while peak / bandwidth >= T:
        T *= 2
    return T
