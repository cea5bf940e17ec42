"""the rows are left in the order of ranks"""


def by_expert(coming):
    return np.arange(coming.sum())
