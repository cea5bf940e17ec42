"""the norm is of the sum alone, without the residual"""


def residual_and_norm(comm, Y_r, x_r, gain):
    y = comm.reduce_scatter(Y_r)
    rms = np.sqrt((y**2).mean(axis=1, keepdims=True) + EPS)
    return x_r + y, comm.all_gather(y / rms * gain)
