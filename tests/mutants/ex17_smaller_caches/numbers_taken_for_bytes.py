"""numbers are taken for bytes: each has itemsize bytes"""


def longest_context(config, memory, weights, batch, itemsize):
    return max((memory - weights) // (batch * elements_per_token(config)), 0)
