"""warm-up starts at 0, so that the first step is lost"""


def cosine(k, lr, steps, warmup=0, final=0.0):
    if k < warmup:
        return lr * k / warmup
    progress = min((k - warmup) / (steps - warmup), 1)
    return final + (lr - final) * (1 + math.cos(math.pi * progress)) / 2
