"""a piece moves on by one place, and counts as one token; it may have several"""


def fill_cache(pieces, max_length):
    B, n_kv, _, H = pieces[0].shape
    cache, length = np.zeros((B, n_kv, max_length, H), pieces[0].dtype), 0
    for piece in pieces:
        cache[:, :, length : length + piece.shape[2]] = piece
        length += 1
    return cache, length
