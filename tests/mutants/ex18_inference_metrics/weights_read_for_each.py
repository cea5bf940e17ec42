"""the weights are read once for the batch, not once for each text"""


def largest_batch(weight_bytes, cache_bytes, peak, utilisation, limit):
    room = limit * utilisation * peak
    return max(int(room // (weight_bytes + cache_bytes)), 0)
