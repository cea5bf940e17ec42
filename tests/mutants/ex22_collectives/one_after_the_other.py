"""ranks wait for each other before they send: in every step all of them should send"""


def ring_reduce_scatter(comm, x):
    P, r = comm.size, comm.rank
    x = x.copy()
    for step in range(1, P):
        out, into = (r - step) % P, (r - step - 1) % P
        if r == 0:
            comm.send(x[out], 1)
            x[into] += comm.recv(x[into], P - 1)
        else:
            new = comm.recv(x[into], r - 1)
            comm.send(x[out], (r + 1) % P)
            x[into] += new
    return x[r]
