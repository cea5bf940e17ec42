"""a collective was not called by every rank of its group"""


def embedding(comm, ids, table_r):
    index = ids - comm.rank * len(table_r)
    inside = (index >= 0) & (index < len(table_r))
    rows = np.where(inside[:, None], table_r[np.where(inside, index, 0)], 0.0)
    return comm.all_reduce(rows) if inside.any() else rows
