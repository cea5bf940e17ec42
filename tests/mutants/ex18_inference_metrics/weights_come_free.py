"""the weights have to be read as well"""


def largest_batch(weight_bytes, cache_bytes, peak, utilisation, limit):
    room = limit * utilisation * peak
    return max(int(room // cache_bytes), 0)
