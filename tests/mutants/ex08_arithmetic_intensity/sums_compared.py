"""the sums are compared; each piece has to end before the next"""


def step_time(ops, peak, bandwidth):
    math = [flops / peak for flops, _ in ops.values()]
    memory = [nbytes / bandwidth for _, nbytes in ops.values()]
    return max(sum(math), sum(memory)), float(sum(memory) >= sum(math))
