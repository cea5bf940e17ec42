"""the rise is one step too long: it ends at step warmup − 1"""


def learning_rate(step, lr, steps, warmup, final):
    if step <= warmup:
        return lr * (step + 1) / warmup
    progress = min((step - warmup) / (steps - warmup), 1)
    return final + (lr - final) * (1 + math.cos(math.pi * progress)) / 2
