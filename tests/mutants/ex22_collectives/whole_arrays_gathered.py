"""whole arrays are sent, and not shares of 1/P"""


def all_reduce(comm, x):
    return ring_all_gather(comm, x).sum(axis=0)
