"""o is divided by l, and should not be"""


def merge(first, second):
    (m1, l1, o1), (m2, l2, o2) = first, second
    m = np.maximum(m1, m2)
    w1, w2 = np.exp(m1 - m), np.exp(m2 - m)  # (L,)
    l = w1 * l1 + w2 * l2
    return m, l, (w1[:, None] * o1 + w2[:, None] * o2) / l[:, None]
