"""the dtype of the pieces is not kept"""


def fill_cache(pieces, max_length):
    B, n_kv, _, H = pieces[0].shape
    cache, length = np.zeros((B, n_kv, max_length, H)), 0
    for piece in pieces:
        cache[:, :, length : length + piece.shape[2]] = piece
        length += piece.shape[2]
    return cache, length
