"""dA_r is of this rank's positions alone: gather x once more"""


def gathered_product_gradients(comm, x_r, A_r, dZ_r):
    own = dZ_r[comm.rank * len(x_r) : (comm.rank + 1) * len(x_r)]
    return comm.reduce_scatter(dZ_r @ A_r.T), x_r.T @ own
