"""the mask is transposed: it hides the past and shows the future"""


def causal_mask(Lq, Lk):
    return np.arange(Lk) >= np.arange(Lk - Lq, Lk)[:, None]
