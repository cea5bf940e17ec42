"""the log is taken of a probability that has become 0: −log p is not computed from logits"""


def perplexity(logits, ids, mask):
    logits, targets = logits[:, :-1], ids[:, 1:]
    counts = mask[:, :-1] & mask[:, 1:]
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p = p / p.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):
        return np.exp(-np.log(p[counts, targets[counts]]).mean())
