"""arithmetic and memory are added; they work at the same time"""


def step_time(ops, peak, bandwidth):
    math = [flops / peak for flops, _ in ops.values()]
    memory = [nbytes / bandwidth for _, nbytes in ops.values()]
    seconds = sum(math) + sum(memory)
    waiting = sum(time for time, other in zip(memory, math) if time >= other)
    return seconds, waiting / seconds
