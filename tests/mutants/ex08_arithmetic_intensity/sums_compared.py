"""the longer of the two times is taken for each piece, not for the sums"""


def step_time(ops, peak, bandwidth):
    math = [flops / peak for flops, _ in ops.values()]
    memory = [nbytes / bandwidth for _, nbytes in ops.values()]
    return max(sum(math), sum(memory)), float(sum(memory) >= sum(math))
