"""a bucket that is just full is one too full: at most means <="""


def fill_buckets(sizes, most):
    buckets, held = [], most
    for i in reversed(range(len(sizes))):
        if not buckets or held + sizes[i] >= most:
            buckets.append([])
            held = 0
        buckets[-1].append(i)
        held += sizes[i]
    return buckets
