"""it is the largest tile that is still memory-limited, one step too small"""


def smallest_tile(peak, bandwidth, itemsize):
    T = 1
    while T / itemsize < peak / bandwidth:
        T *= 2
    return T
