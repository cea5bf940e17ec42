"""the weights are read once for the batch, not once for each text"""


def mbu(shapes, cache, lengths, itemsize, tpot, peak):
    l, _, n_kv, _, H = cache
    weights = sum(int(np.prod(shape)) for shape in shapes)
    return itemsize * (len(lengths) * weights + 2 * l * n_kv * H * sum(lengths)) / tpot / peak
