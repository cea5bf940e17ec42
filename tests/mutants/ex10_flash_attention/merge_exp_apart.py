"""exp(m1) and exp(m) are taken apart: take the exp of the difference"""


def merge(first, second):
    (m1, l1, o1), (m2, l2, o2) = first, second
    m = np.maximum(m1, m2)
    w1, w2 = np.exp(m1) / np.exp(m), np.exp(m2) / np.exp(m)  # (L,)
    return m, w1 * l1 + w2 * l2, w1[:, None] * o1 + w2[:, None] * o2
