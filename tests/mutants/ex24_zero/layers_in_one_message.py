"""several layers are sent as one, and there is no room for them"""


def forward(comm, shares, shapes, x, product):
    table = comm.all_gather(np.concatenate(shares)).reshape(comm.size, -1)
    start = 0
    for own, (rows, columns) in zip(shares, shapes):
        flat = table[:, start : start + len(own)].reshape(-1)
        start += len(own)
        x = np.maximum(product(x, flat[: rows * columns].reshape(rows, columns)), 0)
        del flat
    return x
