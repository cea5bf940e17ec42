"""single positions go zig-zag, not chunks"""


def zigzag_positions(length, P, rank):
    place = np.arange(length) % (2 * P)
    return np.flatnonzero((place == rank) | (place == 2 * P - 1 - rank))
