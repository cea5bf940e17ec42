"""there is one step too many: P − 1 are enough"""


def ring_reduce_scatter(comm, x):
    P, r = comm.size, comm.rank
    x = x.copy()
    for step in range(P - 1):
        out, into = (r - step) % P, (r - step - 1) % P
        x[into] += comm.send_recv(x[out], (r + 1) % P, (r - 1) % P)
    return comm.send_recv(x[(r + 1) % P], (r + 1) % P, (r - 1) % P)
