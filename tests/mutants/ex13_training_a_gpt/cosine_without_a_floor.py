"""the cosine goes down to 0, not to the final rate"""


def learning_rate(step, lr, steps, warmup, final):
    if step < warmup:
        return lr * (step + 1) / warmup
    progress = min((step - warmup) / (steps - warmup), 1)
    return lr * (1 + math.cos(math.pi * progress)) / 2
