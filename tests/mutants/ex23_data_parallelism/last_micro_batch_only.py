"""only the last micro-batch counts"""


def accumulate(comm, gradients):
    return comm.all_reduce(gradients[-1], op="mean")
