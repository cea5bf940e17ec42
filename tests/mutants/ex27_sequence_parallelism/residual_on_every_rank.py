"""the residual is added on every rank, so P times"""


def residual_and_norm(comm, Y_r, x_r, gain):
    x_r = comm.reduce_scatter(Y_r + comm.all_gather(x_r))
    rms = np.sqrt((x_r**2).mean(axis=1, keepdims=True) + EPS)
    return x_r, comm.all_gather(x_r / rms * gain)
