"""the bytes of C are counted, too, which do not matter in a large product"""


def smallest_tile(peak, bandwidth, itemsize):
    T = 1
    while 2 * T**3 / (3 * T**2 * itemsize) <= peak / bandwidth:
        T *= 2
    return T
