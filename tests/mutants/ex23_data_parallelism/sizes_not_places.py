"""buckets hold the parameters' places in sizes, not their sizes"""


def fill_buckets(sizes, most):
    buckets, held = [], most
    for size in reversed(sizes):
        if not buckets or held + size > most:
            buckets.append([])
            held = 0
        buckets[-1].append(size)
        held += size
    return buckets
