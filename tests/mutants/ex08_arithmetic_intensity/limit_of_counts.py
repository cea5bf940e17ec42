"""FLOP are compared with bytes; compare the seconds that they take"""


def limit(flops, nbytes, peak, bandwidth):
    return "math" if flops > nbytes else "memory"
