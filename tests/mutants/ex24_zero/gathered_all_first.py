"""there is room for the weights of a layer, and those of layers that have run are still held"""


def forward(comm, shares, shapes, x, product):
    gathered = [comm.all_gather(own) for own in shares]
    for flat, (rows, columns) in zip(gathered, shapes):
        x = np.maximum(product(x, flat[: rows * columns].reshape(rows, columns)), 0)
    return x
