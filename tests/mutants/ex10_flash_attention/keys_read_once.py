"""K and V are read once for every block of queries, not once in all"""


def attention_bytes(L, H, block, itemsize):
    return itemsize * (4 * L * H + 4 * L * L), itemsize * (2 * L * H + 2 * L * H)
