"""the cosine goes on after the last step, and the rate rises again"""


def learning_rate(step, lr, steps, warmup, final):
    if step < warmup:
        return lr * (step + 1) / warmup
    progress = (step - warmup) / (steps - warmup)
    return final + (lr - final) * (1 + math.cos(math.pi * progress)) / 2
