"""words of other ranks give this rank's first or last row: they should give zeros"""


def embedding(comm, ids, table_r):
    index = np.clip(ids - comm.rank * len(table_r), 0, len(table_r) - 1)
    return comm.all_reduce(table_r[index])
