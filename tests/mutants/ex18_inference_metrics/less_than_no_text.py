"""fewer than no texts cannot be served: 0 is the least"""


def largest_batch(weight_bytes, cache_bytes, peak, utilisation, limit):
    room = limit * utilisation * peak - weight_bytes
    return int(room // cache_bytes)
