"""the value is right, but it is to be an integer"""


def tiled_bytes(M, N, K, T, itemsize):
    return itemsize * (M * K * np.ceil(N / T) + K * N * np.ceil(M / T) + M * N)
