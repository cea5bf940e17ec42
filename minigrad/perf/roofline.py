"""What a piece of work waits for (Williams, Waterman and Patterson, "Roofline", 2009)."""


def intensity(flops, nbytes):
    """The arithmetic intensity of some work, in FLOP/byte: how often each byte is used."""
    return flops / nbytes


def attainable(intensity, peak, bandwidth):
    """The most FLOP/s that work of an intensity (a number or an array) can reach: the roof.

    >>> attainable(1 / 12, peak=67e12, bandwidth=3.6e12)
    300000000000.0
    """
    # Arrays too, and no need of NumPy for numbers.
    slope = bandwidth * intensity
    return slope.clip(max=peak) if hasattr(slope, "clip") else min(peak, slope)


def least_time(flops, nbytes, peak, bandwidth):
    """How long some work takes at least, and what it then waits for.

    Arguments: flops, nbytes: of the work; peak: FLOP/s; bandwidth: bytes/s.
    Returns (seconds, "math" or "memory"): arithmetic and memory work at the same time, and the work
    is math-limited exactly if flops / nbytes > peak / bandwidth, the machine's ops:byte ratio.

    >>> least_time(600, 20, peak=20, bandwidth=1)
    (30.0, 'math')
    """
    math, memory = flops / peak, nbytes / bandwidth
    return max(math, memory), "math" if math > memory else "memory"
