"""the memory time of math-limited pieces is counted, too"""


def step_time(ops, peak, bandwidth):
    math = [flops / peak for flops, _ in ops.values()]
    memory = [nbytes / bandwidth for _, nbytes in ops.values()]
    longer = [max(pair) for pair in zip(math, memory)]
    return sum(longer), sum(memory) / sum(longer)
