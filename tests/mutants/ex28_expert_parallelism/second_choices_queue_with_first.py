"""a token's second choice queues before the first choices of later tokens"""


def queue(experts, E, capacity):
    T, k = experts.shape
    order = np.argsort(experts.reshape(-1), kind="stable")
    counts = np.bincount(experts.reshape(-1), minlength=E)
    place = np.arange(T * k) - np.repeat(np.cumsum(counts) - counts, counts)
    order = order[place < capacity]
    return order // k, order % k, np.minimum(counts, capacity)
