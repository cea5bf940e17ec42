"""the sum is divided by the number of ranks, not by that of all samples"""


def mean_gradient(comm, gradient, samples):
    return comm.all_reduce(gradient * samples, op="mean")
