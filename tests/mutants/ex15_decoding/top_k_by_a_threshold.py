"""all logits equal to the k-th largest are kept, so that more than k remain"""


def top_k(logits, k):
    threshold = np.sort(logits, axis=-1)[..., -k, None]
    return np.where(logits >= threshold, logits, -np.inf)
