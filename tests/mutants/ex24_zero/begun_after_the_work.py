"""every layer waits for its weights: begin to gather them before the layer before runs"""


def forward_ahead(comm, shares, shapes, x, product, seconds):
    coming = comm.all_gather(shares[0], async_op=True)
    for i, (rows, columns) in enumerate(shapes):
        whole = coming.wait()[: rows * columns].reshape(rows, columns)
        comm.compute(seconds[i])
        if i + 1 < len(shapes):
            coming = comm.all_gather(shares[i + 1], async_op=True)
        x = np.maximum(product(x, whole), 0)
    return x
