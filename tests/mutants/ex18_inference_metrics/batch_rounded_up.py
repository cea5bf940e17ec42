"""the batch is rounded up, and its TPOT passes the limit"""


def largest_batch(weight_bytes, cache_bytes, peak, utilisation, limit):
    room = limit * utilisation * peak - weight_bytes
    return max(int(room // cache_bytes) + 1, 0) if room >= 0 else 0
