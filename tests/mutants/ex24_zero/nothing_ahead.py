"""every layer waits for its weights: begin to gather them before the layer before runs"""


def forward_ahead(comm, shares, shapes, x, product, seconds):
    for own, (rows, columns), t in zip(shares, shapes, seconds):
        whole = comm.all_gather(own)[: rows * columns].reshape(rows, columns)
        comm.compute(t)
        x = np.maximum(product(x, whole), 0)
    return x
