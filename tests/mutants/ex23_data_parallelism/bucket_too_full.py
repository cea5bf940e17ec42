"""a bucket holds more than it may: look before the parameter goes in"""


def fill_buckets(sizes, most):
    buckets, held = [], most
    for i in reversed(range(len(sizes))):
        if held >= most:
            buckets.append([])
            held = 0
        buckets[-1].append(i)
        held += sizes[i]
    return buckets
