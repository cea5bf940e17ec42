"""dA_r was added up over the ranks, but each has other columns"""


def gathered_product_gradients(comm, x_r, A_r, dZ_r):
    x = comm.all_gather(x_r)
    return comm.reduce_scatter(dZ_r @ A_r.T), comm.all_reduce(x.T @ dZ_r)
