"""a multiplication and an addition are 2 FLOP, not 1"""


def matmul_cost(M, N, K, itemsize):
    return M * N * K, itemsize * (M * K + K * N + M * N)
