"""only the rank's own positions are seen"""


def ulysses_attention(comm, q, k, v):
    mask = np.tri(q.shape[1], dtype=bool)
    seen = [partial_softmax(*head, mask) for head in zip(q, k, v)]
    return np.array([mixed / total for _, total, mixed in seen])
