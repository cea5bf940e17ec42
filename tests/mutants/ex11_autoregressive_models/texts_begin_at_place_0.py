"""a text is taken to begin at place 0; some are padded on the left"""


def perplexity(logits, ids, mask):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    terms = [
        -log_p[b, i, ids[b, i + 1]]
        for b, length in enumerate(mask.sum(axis=1))
        for i in range(length - 1)
    ]
    return np.exp(np.mean(terms))
