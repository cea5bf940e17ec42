"""words of other ranks give this rank's first row: they should give zeros"""


def embedding(comm, ids, table_r):
    index = ids - comm.rank * len(table_r)
    inside = (index >= 0) & (index < len(table_r))
    return comm.all_reduce(table_r[np.where(inside, index, 0)])
