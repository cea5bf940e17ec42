"""relu is missing"""


def forward(comm, shares, shapes, x):
    for own, (rows, columns) in zip(shares, shapes):
        whole = comm.all_gather(own)[: rows * columns].reshape(rows, columns)
        x = x @ whole
    return x
