"""K and V are read once for every block of queries, and lse is not counted"""


def attention_bytes(L, H, block, itemsize):
    return itemsize * (4 * L * H + 4 * L * L), itemsize * (4 * L * H + L)
