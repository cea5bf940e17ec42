"""the first parameter comes first: backward completes the last one first"""


def fill_buckets(sizes, most):
    buckets, held = [], most
    for i, size in enumerate(sizes):
        if not buckets or held + size > most:
            buckets.append([])
            held = 0
        buckets[-1].append(i)
        held += size
    return buckets
