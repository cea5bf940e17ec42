"""what comes in stands at the rank that was sent to, not at the one that it came from"""


def all_to_all(comm, x):
    P, r = comm.size, comm.rank
    result = x.copy()
    for step in range(1, P):
        to = (r + step) % P
        result[to] = comm.send_recv(x[to], to, (r - step) % P)
    return result
