"""the second chunk is one too far: chunks count from 0, so the last is 2P − 1"""


def zigzag_positions(length, P, rank):
    chunk = length // (2 * P)
    first, last = rank * chunk, (2 * P - rank) * chunk
    return np.concatenate([np.arange(first, first + chunk), np.arange(last, last + chunk)])
