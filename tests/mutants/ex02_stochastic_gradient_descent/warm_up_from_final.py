"""warm-up starts from final, but it starts from 0"""


def cosine(k, lr, steps, warmup=0, final=0.0):
    if k < warmup:
        return final + (lr - final) * (k + 1) / warmup
    progress = min((k - warmup) / (steps - warmup), 1)
    return final + (lr - final) * (1 + math.cos(math.pi * progress)) / 2
