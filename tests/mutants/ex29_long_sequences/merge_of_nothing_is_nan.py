"""a row that has seen nothing becomes NaN: −∞ − (−∞) is no number"""


def merge(a, b):
    with np.errstate(all="ignore"):
        top = np.maximum(a[0], b[0])
        keep, add = np.exp(a[0] - top), np.exp(b[0] - top)
    return top, a[1] * keep + b[1] * add, a[2] * keep + b[2] * add
