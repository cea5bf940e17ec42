"""each rank has its partial sum of Y; g adds them up"""


def mlp(comm, X, A_r, B_r, bias):
    return np.maximum(X @ A_r, 0.0) @ B_r + bias
