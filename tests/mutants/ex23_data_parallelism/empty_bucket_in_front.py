"""the bucket in front is empty"""


def fill_buckets(sizes, most):
    buckets = [[], []]
    for i in reversed(range(len(sizes))):
        if buckets[-1] and sum(sizes[j] for j in buckets[-1]) + sizes[i] > most:
            buckets.append([])
        buckets[-1].append(i)
    return buckets
