"""the memory is only as long as the tokens are, not max_length"""


def fill_cache(pieces, max_length):
    cache = np.zeros_like(pieces[0][:, :, :0])
    for piece in pieces:
        longer = np.empty((*cache.shape[:2], cache.shape[2] + piece.shape[2], cache.shape[3]))
        longer[:, :, : cache.shape[2]], longer[:, :, cache.shape[2] :] = cache, piece
        cache = longer.astype(piece.dtype)
    return cache, cache.shape[2]
