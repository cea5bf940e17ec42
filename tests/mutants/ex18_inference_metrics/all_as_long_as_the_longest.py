"""every text is counted as long as the longest"""


def mbu(shapes, cache, lengths, itemsize, tpot, peak):
    l, B, n_kv, _, H = cache
    weights = sum(int(np.prod(shape)) for shape in shapes)
    cached = 2 * l * n_kv * H * B * max(lengths)
    return itemsize * (weights + cached) / tpot / peak
