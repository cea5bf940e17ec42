"""a part of a token is counted as one: only whole tokens fit, so round down"""


def longest_context(config, memory, weights, batch, itemsize):
    return max(math.ceil((memory - weights) / (batch * itemsize * elements_per_token(config))), 0)
