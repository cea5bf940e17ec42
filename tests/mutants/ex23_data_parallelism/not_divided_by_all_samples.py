"""the sum is not divided by the number of all samples"""


def mean_gradient(comm, gradient, samples):
    return comm.all_reduce(gradient * samples)
