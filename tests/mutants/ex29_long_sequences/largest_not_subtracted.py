"""the largest score is not subtracted before exp, which gives ∞ or 0 for all"""


def ulysses_attention(comm, q, k, v):
    q, k, v = (comm.all_to_all(x, 0, 1) for x in (q, k, v))
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[2])
    with np.errstate(all="ignore"):
        p = np.where(np.tri(q.shape[1], dtype=bool), np.exp(scores), 0.0)
        y = (p @ v) / p.sum(axis=2, keepdims=True)
    return comm.all_to_all(y, 1, 0)
