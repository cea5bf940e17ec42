"""the second chunk is P + r: the late ones must count down, 2P − 1 − r"""


def zigzag_positions(length, P, rank):
    chunk = length // (2 * P)
    first, last = rank * chunk, (P + rank) * chunk
    return np.concatenate([np.arange(first, first + chunk), np.arange(last, last + chunk)])
