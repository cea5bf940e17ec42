"""the zeros that were added are still at the end"""


def all_reduce(comm, x):
    padded = np.append(x, np.zeros(-len(x) % comm.size))
    mine = ring_reduce_scatter(comm, padded.reshape(comm.size, -1))
    return ring_all_gather(comm, mine).reshape(-1)
