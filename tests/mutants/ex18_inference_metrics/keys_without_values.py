"""keys are counted, values are not"""


def mbu(shapes, cache, lengths, itemsize, tpot, peak):
    l, _, n_kv, _, H = cache
    weights = sum(int(np.prod(shape)) for shape in shapes)
    return itemsize * (weights + l * n_kv * H * sum(lengths)) / tpot / peak
