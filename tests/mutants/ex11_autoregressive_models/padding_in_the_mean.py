"""padding adds nothing to the sum, but it is counted in N"""


def perplexity(logits, ids, mask):
    logits, targets = logits[:, :-1], ids[:, 1:]
    counts = mask[:, :-1] & mask[:, 1:]
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    log_p = np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    return np.exp(-(log_p * counts).mean())
