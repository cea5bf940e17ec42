"""g and ḡ are exchanged: ḡ scatters the sum, g gathers"""


def residual_and_norm(comm, Y_r, x_r, gain):
    x_r = x_r + comm.all_gather(Y_r)
    rms = np.sqrt((x_r**2).mean(axis=1, keepdims=True) + EPS)
    return x_r, comm.reduce_scatter(x_r / rms * gain)
