"""the tiles at the edges are counted as if they were full"""


def tiled_bytes(M, N, K, T, itemsize):
    across, down = -(-N // T), -(-M // T)
    return itemsize * (across * down * 2 * T * K + M * N)
