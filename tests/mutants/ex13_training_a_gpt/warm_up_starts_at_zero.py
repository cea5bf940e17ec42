"""the first step has the rate 0 and is lost: warm-up starts at lr / warmup"""


def learning_rate(step, lr, steps, warmup, final):
    if step < warmup:
        return lr * step / warmup
    progress = min((step - warmup) / (steps - warmup), 1)
    return final + (lr - final) * (1 + math.cos(math.pi * progress)) / 2
