"""one step too small: it is the largest tile that is still memory-limited"""


def smallest_tile(peak, bandwidth, itemsize):
    T = 1
    while 2 * T / itemsize <= peak / bandwidth:
        T *= 2
    return T
