"""the logits are multiplied by the temperature, not divided by it"""


def distribution(logits, temperature):
    weights = np.exp((logits - logits.max(axis=-1, keepdims=True)) * temperature)
    return weights / weights.sum(axis=-1, keepdims=True)
