"""only l is brought to the new largest score, o is not"""


def merge(first, second):
    (m1, l1, o1), (m2, l2, o2) = first, second
    m = np.maximum(m1, m2)
    w1, w2 = np.exp(m1 - m), np.exp(m2 - m)  # (L,)
    return m, w1 * l1 + w2 * l2, o1 + o2
