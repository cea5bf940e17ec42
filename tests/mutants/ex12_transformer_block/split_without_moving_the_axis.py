"""the heads stand behind the tokens: their axis has to move before them"""


def split_heads(x, n_h):
    *batch, L, D = x.shape
    return x.reshape(*batch, L, n_h, D // n_h)
