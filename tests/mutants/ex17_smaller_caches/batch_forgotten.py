"""the batch is forgotten: every text has a cache of its own"""


def longest_context(config, memory, weights, batch, itemsize):
    return max((memory - weights) // (itemsize * elements_per_token(config)), 0)
