"""the ratios are rounded, and a fraction may decide"""


def limit(flops, nbytes, peak, bandwidth):
    return "math" if flops / nbytes > int(peak / bandwidth) else "memory"
