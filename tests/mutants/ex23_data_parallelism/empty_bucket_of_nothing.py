"""without parameters there is no bucket, not an empty one"""


def fill_buckets(sizes, most):
    buckets, held = [[]], 0
    for i in reversed(range(len(sizes))):
        if buckets[-1] and held + sizes[i] > most:
            buckets.append([])
            held = 0
        buckets[-1].append(i)
        held += sizes[i]
    return buckets
