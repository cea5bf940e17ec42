"""the cosine is counted from step 0, not from the end of warm-up"""


def cosine(k, lr, steps, warmup=0, final=0.0):
    if k < warmup:
        return lr * (k + 1) / warmup
    progress = min(k / steps, 1)
    return final + (lr - final) * (1 + math.cos(math.pi * progress)) / 2
