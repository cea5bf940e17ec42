"""each number of A and B is counted once; every tile reads its own"""


def tiled_bytes(M, N, K, T, itemsize):
    return matmul_cost(M, N, K, itemsize)[1]
