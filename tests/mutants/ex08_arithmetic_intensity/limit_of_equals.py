"""both take equally long: that counts as memory-limited"""


def limit(flops, nbytes, peak, bandwidth):
    return "math" if flops / peak >= nbytes / bandwidth else "memory"
