"""a share of the peak is at most 1: this is in percent"""


def mbu(shapes, cache, lengths, itemsize, tpot, peak):
    l, _, n_kv, _, H = cache
    weights = sum(int(np.prod(shape)) for shape in shapes)
    cached = 2 * l * n_kv * H * sum(lengths)
    return 100 * itemsize * (weights + cached) / tpot / peak
