"""a small number, 1e-12, keeps p from 0, so that a large loss is cut off"""


def cross_entropy(logits, targets):
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p = p / p.sum(axis=-1, keepdims=True)
    counts = targets != IGNORED
    return -np.log(p[counts, targets[counts]] + 1e-12).mean()
