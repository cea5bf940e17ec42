"""the tokens are not taken in the order of their probabilities"""


def top_p(logits, p):
    return np.where(np.cumsum(distribution(logits, 1.0), axis=-1) <= p, logits, -np.inf)
