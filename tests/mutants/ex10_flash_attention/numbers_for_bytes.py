"""numbers are counted, not their bytes"""


def attention_bytes(L, H, block, itemsize):
    blocks = -(-L // block)
    return (4 * L * H + 4 * L * L), (2 * L * H + 2 * L * H * blocks)
