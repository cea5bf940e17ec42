"""the weights are turned round: they are exp(old m − new m)"""


def merge(first, second):
    (m1, l1, o1), (m2, l2, o2) = first, second
    m = np.maximum(m1, m2)
    w1, w2 = np.exp(m - m1), np.exp(m - m2)  # (L,)
    return m, w1 * l1 + w2 * l2, w1[:, None] * o1 + w2[:, None] * o2
