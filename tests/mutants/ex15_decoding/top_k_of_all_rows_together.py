"""the k largest are looked for in all rows together, not in each"""


def top_k(logits, k):
    place = np.argsort(np.argsort(-logits, axis=None, kind="stable")).reshape(logits.shape)
    return np.where(place < k, logits, -np.inf)
