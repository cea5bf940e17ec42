"""logits are paired with the token at their own place; they are about the next one"""


def perplexity(logits, ids, mask):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return np.exp(-log_p[mask, ids[mask]].mean())
