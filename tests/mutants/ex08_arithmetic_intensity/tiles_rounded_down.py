"""the number of tiles is not rounded up"""


def tiled_bytes(M, N, K, T, itemsize):
    across, down = N // T, M // T
    return itemsize * (M * K * across + K * N * down + M * N)
