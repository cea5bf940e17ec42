"""comm.compute stands outside the loop, and all layers are gathered before the first one runs"""


def forward_ahead(comm, shares, shapes, x, product, seconds):
    x = forward(comm, shares, shapes, x, product)
    for t in seconds:
        comm.compute(t)
    return x
