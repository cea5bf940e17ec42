"""2·M·N·K / T holds only where T divides M and N"""


def tiled_bytes(M, N, K, T, itemsize):
    return itemsize * (2 * M * N * K // T + M * N)
