"""the weights are taken off once for every text; all texts share them"""


def longest_context(config, memory, weights, batch, itemsize):
    return max((memory // batch - weights) // (itemsize * elements_per_token(config)), 0)
