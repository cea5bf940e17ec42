"""every rank sends first, and send waits until it is received"""


def ring_reduce_scatter(comm, x):
    P, r = comm.size, comm.rank
    x = x.copy()
    for step in range(1, P):
        out, into = (r - step) % P, (r - step - 1) % P
        comm.send(x[out], (r + 1) % P)
        x[into] += comm.recv(x[into], (r - 1) % P)
    return x[r]
