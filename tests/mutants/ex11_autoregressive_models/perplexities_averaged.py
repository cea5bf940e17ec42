"""perplexities of texts are averaged; the mean is of −log p, over all tokens"""


def perplexity(logits, ids, mask):
    logits, targets = logits[:, :-1], ids[:, 1:]
    counts = mask[:, :-1] & mask[:, 1:]
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    texts = [(p[c, t[c]]) for p, t, c in zip(log_p, targets, counts) if c.any()]
    return np.mean([np.exp(-text.mean()) for text in texts])
