"""a tile whose ratio only equals the machine's is still memory-limited"""


def smallest_tile(peak, bandwidth, itemsize):
    T = 1
    while T / itemsize < peak / bandwidth:
        T *= 2
    return T
