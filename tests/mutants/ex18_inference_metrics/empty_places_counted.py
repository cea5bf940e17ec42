"""the cache is counted as large as its memory, not as many tokens as are in it"""


def mbu(shapes, cache, lengths, itemsize, tpot, peak):
    assert len(cache) == 5
    weights = sum(int(np.prod(shape)) for shape in shapes)
    return itemsize * (weights + 2 * int(np.prod(cache))) / tpot / peak
