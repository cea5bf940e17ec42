"""every P-th number is taken, not successive ones"""


def share(w, P, rank):
    n = -(-len(w) // P)
    padded = np.zeros(P * n)
    padded[: len(w)] = w
    return padded[rank::P]
