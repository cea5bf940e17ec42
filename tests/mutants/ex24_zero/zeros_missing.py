"""the last share is shorter: zeros are missing"""


def share(w, P, rank):
    n = -(-len(w) // P)
    return w[rank * n : (rank + 1) * n].copy()
