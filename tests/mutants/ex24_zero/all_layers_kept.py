"""there is room for the weights of 2 layers, and those of layers that have run are still held"""


def forward_ahead(comm, shares, shapes, x, product, seconds):
    coming, kept = comm.all_gather(shares[0], async_op=True), []
    for i, (rows, columns) in enumerate(shapes):
        kept.append(coming.wait()[: rows * columns].reshape(rows, columns))
        if i + 1 < len(shapes):
            coming = comm.all_gather(shares[i + 1], async_op=True)
        comm.compute(seconds[i])
    for whole in kept:
        x = np.maximum(product(x, whole), 0)
    return x
