"""every text is averaged for itself first, so tokens of short texts count for more"""


def cross_entropy(logits, targets):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    if targets.ndim == 1:
        log_p, targets = log_p[None], targets[None]
    texts = zip(log_p.reshape(-1, *log_p.shape[-2:]), targets.reshape(-1, targets.shape[-1]))
    return -np.mean([p[y != IGNORED, y[y != IGNORED]].mean() for p, y in texts])
