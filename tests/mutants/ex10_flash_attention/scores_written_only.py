"""S and P are each written and read, four times L·L in all"""


def attention_bytes(L, H, block, itemsize):
    blocks = -(-L // block)
    return itemsize * (4 * L * H + 2 * L * L), itemsize * (2 * L * H + 2 * L * H * blocks)
