"""the weights are forgotten: they take memory too"""


def longest_context(config, memory, weights, batch, itemsize):
    return memory // (batch * itemsize * elements_per_token(config))
