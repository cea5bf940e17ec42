"""the cosine starts at step 0, not after the warm-up"""


def learning_rate(step, lr, steps, warmup, final):
    if step < warmup:
        return lr * (step + 1) / warmup
    return final + (lr - final) * (1 + math.cos(math.pi * min(step / steps, 1))) / 2
