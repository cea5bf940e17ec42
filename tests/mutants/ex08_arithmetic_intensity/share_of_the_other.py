"""the share is that of the math-limited pieces"""


def step_time(ops, peak, bandwidth):
    math = [flops / peak for flops, _ in ops.values()]
    memory = [nbytes / bandwidth for _, nbytes in ops.values()]
    longer = [max(pair) for pair in zip(math, memory)]
    waiting = sum(time for time, other in zip(memory, math) if time >= other)
    return sum(longer), 1 - waiting / sum(longer)
