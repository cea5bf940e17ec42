"""A and B are counted as if they were read for each number of C"""


def matmul_cost(M, N, K, itemsize):
    return 2 * M * N * K, itemsize * (2 * M * N * K + M * N)
