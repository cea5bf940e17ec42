"""the rows are counted to the right: what comes in the first step is row r − 1"""


def ring_all_gather(comm, row):
    P, r = comm.size, comm.rank
    rows = np.empty((P, len(row)), row.dtype)
    rows[r] = row
    for step in range(P - 1):
        row = comm.send_recv(row, (r + 1) % P, (r - 1) % P)
        rows[(r + step + 1) % P] = row
    return rows
