"""more than the partial sums of Y travels, or they travel more than once"""


def mlp(comm, X, A_r, B_r, bias):
    hidden = comm.all_gather(np.maximum(X @ A_r, 0.0).T).T
    return hidden @ comm.all_gather(B_r) + bias
