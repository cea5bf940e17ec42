"""zeros are added although P divides n"""


def all_reduce(comm, x):
    n, P = len(x), comm.size
    padded = np.append(x, np.zeros(P - n % P))
    mine = ring_reduce_scatter(comm, padded.reshape(P, -1))
    return ring_all_gather(comm, mine).reshape(-1)[:n]
