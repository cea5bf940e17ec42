"""the mean divides by all tokens, also by those that are ignored"""


def cross_entropy(logits, targets):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    counts = targets != IGNORED
    return -log_p[counts, targets[counts]].sum() / targets.size
