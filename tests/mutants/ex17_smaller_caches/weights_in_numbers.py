"""the weights are multiplied by itemsize; they are given in bytes"""


def longest_context(config, memory, weights, batch, itemsize):
    left = memory - weights * itemsize
    return max(left // (batch * itemsize * elements_per_token(config)), 0)
