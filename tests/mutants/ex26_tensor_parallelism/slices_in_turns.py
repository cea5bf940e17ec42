"""the slices are in turns, every P-th column, and not P stretches of neighbours"""


def own_slices(comm, A, B):
    return A[:, comm.rank :: comm.size], B[comm.rank :: comm.size]
