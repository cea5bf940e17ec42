"""the schedule is cut off at final, not drawn between lr and final"""


def cosine(k, lr, steps, warmup=0, final=0.0):
    if k < warmup:
        return lr * (k + 1) / warmup
    progress = min((k - warmup) / (steps - warmup), 1)
    return max(lr * (1 + math.cos(math.pi * progress)) / 2, final)
