"""the mask is in the order of the sorted tokens, not put back to their places"""


def top_p(logits, p):
    likeliest_first = -np.sort(-distribution(logits, 1.0), axis=-1)
    mass_before = np.cumsum(likeliest_first, axis=-1) - likeliest_first
    return np.where(mass_before < p, logits, -np.inf)
