"""relu is missing after the last layer"""


def forward(comm, shares, shapes, x, product):
    for i, (own, (rows, columns)) in enumerate(zip(shares, shapes)):
        whole = comm.all_gather(own)[: rows * columns].reshape(rows, columns)
        x = product(x, whole)
        if i + 1 < len(shapes):
            x = np.maximum(x, 0)
    return x
