"""every micro-batch is sent: add them up first, and send once"""


def accumulate(comm, gradients):
    return sum(comm.all_reduce(row, op="mean") for row in gradients) / len(gradients)
