"""a single text is too much already: that is 0, not 1"""


def largest_batch(weight_bytes, cache_bytes, peak, utilisation, limit):
    room = limit * utilisation * peak - weight_bytes
    return max(int(room // cache_bytes), 1)
