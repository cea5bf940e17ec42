"""the cache is counted for one text, not for all of the batch"""


def mbu(shapes, cache, lengths, itemsize, tpot, peak):
    l, _, n_kv, _, H = cache
    weights = sum(int(np.prod(shape)) for shape in shapes)
    return itemsize * (weights + 2 * l * n_kv * H * np.mean(lengths)) / tpot / peak
