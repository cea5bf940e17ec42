"""the softmax runs along the wrong axis"""


def distribution(logits, temperature):
    weights = np.exp((logits - logits.max()) / temperature)
    return weights / weights.sum(axis=0)
