"""sums with different largest scores are added without bringing them to one"""


def merge(first, second):
    (m1, l1, o1), (m2, l2, o2) = first, second
    m = np.maximum(m1, m2)
    return m, l1 + l2, o1 + o2
