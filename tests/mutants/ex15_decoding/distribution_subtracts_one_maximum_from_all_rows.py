"""what is subtracted is not the row's own largest logit, and small rows underflow"""


def distribution(logits, temperature):
    weights = np.exp((logits - logits.max()) / temperature)
    return weights / weights.sum(axis=-1, keepdims=True)
