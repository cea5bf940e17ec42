"""the ratios are rounded, and a fraction may decide"""


def limit(flops, nbytes, peak, bandwidth):
    return "math" if flops // nbytes > peak // bandwidth else "memory"
