"""the largest logit of the row is not subtracted first, so that exp overflows"""


def distribution(logits, temperature):
    weights = np.exp(logits / temperature)
    return weights / weights.sum(axis=-1, keepdims=True)
