"""more than one ReduceScatter and one AllGather of (L, D) travels"""


def residual_and_norm(comm, Y_r, x_r, gain):
    rows = len(x_r)
    x_r = x_r + comm.all_reduce(Y_r)[comm.rank * rows : (comm.rank + 1) * rows]
    rms = np.sqrt((x_r**2).mean(axis=1, keepdims=True) + EPS)
    return x_r, comm.all_gather(x_r / rms * gain)
