"""tokens are taken in by their ids, not the likeliest first"""


def top_p(logits, p):
    probabilities = distribution(logits, 1.0)
    mass_before = np.cumsum(probabilities, axis=-1) - probabilities
    return np.where(mass_before < p, logits, -np.inf)
