"""it is the other way round: what takes longer is the limit"""


def limit(flops, nbytes, peak, bandwidth):
    return "math" if flops / peak >= nbytes / bandwidth else "memory"
