"""relu is missing"""


def forward(comm, shares, shapes, x, product):
    for own, (rows, columns) in zip(shares, shapes):
        whole = comm.all_gather(own)[: rows * columns].reshape(rows, columns)
        x = product(x, whole)
    return x
