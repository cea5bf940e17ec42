"""every piece is written to the start, over the one before"""


def fill_cache(pieces, max_length):
    B, n_kv, _, H = pieces[0].shape
    cache, length = np.zeros((B, n_kv, max_length, H), pieces[0].dtype), 0
    for piece in pieces:
        cache[:, :, : piece.shape[2]] = piece
        length += piece.shape[2]
    return cache, length
