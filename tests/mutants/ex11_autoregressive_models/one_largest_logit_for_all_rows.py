"""one largest logit is subtracted from all rows; each row needs its own"""


def perplexity(logits, ids, mask):
    logits, targets = logits[:, :-1], ids[:, 1:]
    counts = mask[:, :-1] & mask[:, 1:]
    shifted = logits - logits.max()
    with np.errstate(divide="ignore"):
        log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return np.exp(-log_p[counts, targets[counts]].mean())
