"""the first product is added to 0, which counts: K additions, not K − 1"""


def matmul_cost(M, N, K, itemsize):
    return M * N * (2 * K - 1), itemsize * (M * K + K * N + M * N)
