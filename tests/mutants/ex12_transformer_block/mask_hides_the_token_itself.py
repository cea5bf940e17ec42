"""a token does not see itself"""


def causal_mask(Lq, Lk):
    return np.arange(Lk) < np.arange(Lk - Lq, Lk)[:, None]
