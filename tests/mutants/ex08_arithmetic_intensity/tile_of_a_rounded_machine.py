"""the machine's ratio is rounded"""


def smallest_tile(peak, bandwidth, itemsize):
    T = 1
    while T / itemsize <= peak // bandwidth:
        T *= 2
    return T
