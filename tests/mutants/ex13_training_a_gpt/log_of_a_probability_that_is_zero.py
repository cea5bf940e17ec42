"""the log is taken of a probability that has become 0: −log p is not computed from logits"""


def cross_entropy(logits, targets):
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p = p / p.sum(axis=-1, keepdims=True)
    counts = targets != IGNORED
    return -np.log(p[counts, targets[counts]]).mean()
