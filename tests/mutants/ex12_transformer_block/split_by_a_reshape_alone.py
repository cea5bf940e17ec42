"""the heads are split by a reshape alone, which mixes tokens: an axis has to move"""


def split_heads(x, n_h):
    *batch, L, D = x.shape
    return x.reshape(*batch, n_h, L, D // n_h)
