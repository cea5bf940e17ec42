"""rank 0 sends to rank 3; its right neighbour is rank 1"""


def ring_reduce_scatter(comm, x):
    P, r = comm.size, comm.rank
    x = x.copy()
    for step in range(1, P):
        out, into = (r + step) % P, (r + step + 1) % P
        x[into] += comm.send_recv(x[out], (r - 1) % P, (r + 1) % P)
    return x[r]
