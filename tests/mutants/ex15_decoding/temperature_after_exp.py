"""the temperature comes after exp, when small probabilities have become 0 already"""


def distribution(logits, temperature):
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True)) ** (1 / temperature)
    return weights / weights.sum(axis=-1, keepdims=True)
