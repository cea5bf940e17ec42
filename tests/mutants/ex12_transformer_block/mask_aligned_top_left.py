"""the mask is aligned top left: the last query does not see the last keys"""


def causal_mask(Lq, Lk):
    return np.arange(Lk) <= np.arange(Lq)[:, None]
