"""the ranks' gradients are added up as they are, and not averaged"""


def mean_gradient(comm, gradient, samples):
    return comm.all_reduce(gradient)
