"""the zeros stand in front"""


def share(w, P, rank):
    n = -(-len(w) // P)
    padded = np.zeros(P * n)
    padded[P * n - len(w) :] = w
    return padded[rank * n : (rank + 1) * n]
