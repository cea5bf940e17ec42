"""N is of this rank's positions alone; g gathers those of all"""


def residual_and_norm(comm, Y_r, x_r, gain):
    x_r = x_r + comm.reduce_scatter(Y_r)
    return x_r, x_r / np.sqrt((x_r**2).mean(axis=1, keepdims=True) + EPS) * gain
