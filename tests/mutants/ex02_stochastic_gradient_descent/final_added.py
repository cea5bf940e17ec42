"""final is added to the whole schedule, which then begins above lr"""


def cosine(k, lr, steps, warmup=0, final=0.0):
    if k < warmup:
        return lr * (k + 1) / warmup
    progress = min((k - warmup) / (steps - warmup), 1)
    return final + lr * (1 + math.cos(math.pi * progress)) / 2
