"""tokens as likely as the last one of the set are kept too: it is not the smallest"""


def top_p(logits, p):
    likeliest_first = -np.sort(-distribution(logits, 1.0), axis=-1)
    mass_before = np.cumsum(likeliest_first, axis=-1) - likeliest_first
    last = (mass_before < p).sum(axis=-1, keepdims=True) - 1
    threshold = np.take_along_axis(-np.sort(-logits, axis=-1), last, axis=-1)
    return np.where(logits >= threshold, logits, -np.inf)
