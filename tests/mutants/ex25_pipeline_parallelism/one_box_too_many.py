"""a row has S − 1 boxes of nothing, not S"""


def bubble(S, M, v):
    return S / (v * M + S)
