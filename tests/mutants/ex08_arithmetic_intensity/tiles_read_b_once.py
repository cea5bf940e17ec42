"""B is counted once; every row of tiles reads it anew"""


def tiled_bytes(M, N, K, T, itemsize):
    return itemsize * (M * K * -(-N // T) + K * N + M * N)
