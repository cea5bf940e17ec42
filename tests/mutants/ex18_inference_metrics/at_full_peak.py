"""the peak is not reached: the rate is peak · utilisation"""


def largest_batch(weight_bytes, cache_bytes, peak, utilisation, limit):
    room = limit * peak - weight_bytes
    return max(int(room // cache_bytes), 0)
