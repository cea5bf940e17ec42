"""the cosine rises again after its end"""


def cosine(k, lr, steps, warmup=0, final=0.0):
    if k < warmup:
        return lr * (k + 1) / warmup
    progress = (k - warmup) / (steps - warmup)
    return final + (lr - final) * (1 + math.cos(math.pi * progress)) / 2
