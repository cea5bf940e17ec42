"""the ratios are rounded, and a fraction may decide"""


def limit(flops, nbytes, peak, bandwidth):
    return "math" if round(flops / nbytes) > round(peak / bandwidth) else "memory"
