"""more than one layer is fetched ahead, and there is no room for them"""


def forward_ahead(comm, shares, shapes, x, product, seconds):
    coming = [comm.all_gather(own, async_op=True) for own in shares]
    for handle, (rows, columns), t in zip(coming, shapes, seconds):
        whole = handle.wait()[: rows * columns].reshape(rows, columns)
        comm.compute(t)
        x = np.maximum(product(x, whole), 0)
    return x
