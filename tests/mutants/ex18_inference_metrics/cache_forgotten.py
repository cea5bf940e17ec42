"""the bytes of the cache are not counted"""


def mbu(shapes, cache, lengths, itemsize, tpot, peak):
    return itemsize * sum(int(np.prod(shape)) for shape in shapes) / tpot / peak
