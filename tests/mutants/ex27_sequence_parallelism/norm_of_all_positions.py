"""all ranks norm all positions: a rank norms its own, gain included, before g"""


def residual_and_norm(comm, Y_r, x_r, gain):
    x_r = x_r + comm.reduce_scatter(Y_r)
    x = comm.all_gather(x_r)
    return x_r, x / np.sqrt((x**2).mean(axis=1, keepdims=True) + EPS) * gain
