"""the share is that of the pieces, not of the time"""


def step_time(ops, peak, bandwidth):
    math = [flops / peak for flops, _ in ops.values()]
    memory = [nbytes / bandwidth for _, nbytes in ops.values()]
    longer = [max(pair) for pair in zip(math, memory)]
    waits = [time >= other for time, other in zip(memory, math)]
    return sum(longer), sum(waits) / len(waits)
