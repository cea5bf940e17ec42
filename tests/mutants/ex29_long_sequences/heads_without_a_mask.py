"""there is no mask: positions see those after them"""


def ulysses_attention(comm, q, k, v):
    q, k, v = (comm.all_to_all(x, 0, 1) for x in (q, k, v))
    mask = np.ones((q.shape[1], q.shape[1]), bool)
    seen = [partial_softmax(*head, mask) for head in zip(q, k, v)]
    return comm.all_to_all(np.array([mixed / total for _, total, mixed in seen]), 1, 0)
