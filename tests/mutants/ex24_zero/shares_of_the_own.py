"""a rank adds its own gradient's share, without the others'"""


def reduce_layers(comm, gradients, held):
    P, r = comm.size, comm.rank
    return [h + g.reshape(P, -1)[r] for g, h in zip(gradients, held)]
