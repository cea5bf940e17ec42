"""there are P steps, in each of which some rank has nothing to do"""


def all_to_all(comm, x):
    result = x.copy()
    for k in range(comm.size):
        other = (k - comm.rank) % comm.size
        if other != comm.rank:
            result[other] = comm.send_recv(x[other], other, other)
    return result
