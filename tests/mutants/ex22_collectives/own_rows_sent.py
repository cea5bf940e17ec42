"""a rank sends its own rows only, and not the sums that have come to it"""


def ring_reduce_scatter(comm, x):
    P, r = comm.size, comm.rank
    total = x.copy()
    for step in range(1, P):
        out, into = (r - step) % P, (r - step - 1) % P
        total[into] += comm.send_recv(x[out], (r + 1) % P, (r - 1) % P)
    return total[r]
