"""shares are rounded down, and the last numbers belong to nobody"""


def share(w, P, rank):
    n = len(w) // P
    return w[rank * n : (rank + 1) * n].copy()
