"""the bytes of C are not counted"""


def matmul_cost(M, N, K, itemsize):
    return 2 * M * N * K, itemsize * (M * K + K * N)
