"""the number of blocks is not rounded up"""


def attention_bytes(L, H, block, itemsize):
    blocks = L // block
    return itemsize * (4 * L * H + 4 * L * L), itemsize * (2 * L * H + 2 * L * H * blocks)
