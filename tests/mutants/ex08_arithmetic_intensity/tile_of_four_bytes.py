"""itemsize is not looked at: T / 4 holds for numbers of 4 bytes"""


def smallest_tile(peak, bandwidth, itemsize):
    T = 1
    while bandwidth * T / 4 <= peak:
        T *= 2
    return T
