"""padding that follows the last real token is counted, predicted from that token"""


def perplexity(logits, ids, mask):
    logits, targets = logits[:, :-1], ids[:, 1:]
    counts = mask[:, :-1]
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return np.exp(-log_p[counts, targets[counts]].mean())
