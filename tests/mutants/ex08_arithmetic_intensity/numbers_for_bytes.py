"""numbers are counted, not their bytes"""


def matmul_cost(M, N, K, itemsize):
    return 2 * M * N * K, M * K + K * N + M * N
