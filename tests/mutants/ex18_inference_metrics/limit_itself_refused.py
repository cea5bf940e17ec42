"""a TPOT that is just the limit is allowed"""


def largest_batch(weight_bytes, cache_bytes, peak, utilisation, limit):
    room = limit * utilisation * peak - weight_bytes
    return max(int(np.ceil(room / cache_bytes)) - 1, 0)
