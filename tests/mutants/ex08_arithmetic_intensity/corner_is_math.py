"""a piece that takes both equally long is memory-limited, too"""


def step_time(ops, peak, bandwidth):
    seconds = waiting = 0.0
    for flops, nbytes in ops.values():
        math, memory = flops / peak, nbytes / bandwidth
        seconds += max(math, memory)
        if memory > math:
            waiting += memory
    return seconds, waiting / seconds
