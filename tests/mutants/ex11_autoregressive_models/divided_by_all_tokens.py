"""the sum is divided by all real tokens, not by those that are predicted"""


def perplexity(logits, ids, mask):
    real = mask.sum()
    logits, targets = logits[:, :-1], ids[:, 1:]
    counts = mask[:, :-1] & mask[:, 1:]
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return np.exp(-log_p[counts, targets[counts]].sum() / real)
