"""each rank has the rows of its own words alone; g adds them up"""


def embedding(comm, ids, table_r):
    index = ids - comm.rank * len(table_r)
    inside = (index >= 0) & (index < len(table_r))
    return np.where(inside[:, None], table_r[np.where(inside, index, 0)], 0.0)
