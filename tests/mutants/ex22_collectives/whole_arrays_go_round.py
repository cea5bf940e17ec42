"""whole arrays go round, and not one row a step"""


def ring_reduce_scatter(comm, x):
    P, r = comm.size, comm.rank
    total, going = x.copy(), x
    for _ in range(P - 1):
        going = comm.send_recv(going, (r + 1) % P, (r - 1) % P)
        total += going
    return total[r]
