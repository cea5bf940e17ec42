"""the bytes of C are not counted"""


def tiled_bytes(M, N, K, T, itemsize):
    across, down = -(-N // T), -(-M // T)
    return itemsize * (M * K * across + K * N * down)
