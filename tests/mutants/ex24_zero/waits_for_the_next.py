"""the rank waits for the next layer's weights before this layer runs"""


def forward_ahead(comm, shares, shapes, x, product, seconds):
    flat = comm.all_gather(shares[0])
    for i, (rows, columns) in enumerate(shapes):
        whole = flat[: rows * columns].reshape(rows, columns)
        if i + 1 < len(shapes):
            flat = comm.all_gather(shares[i + 1], async_op=True).wait()
        comm.compute(seconds[i])
        x = np.maximum(product(x, whole), 0)
    return x
