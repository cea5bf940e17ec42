"""the weights are turned round: e^(new − old) in place of e^(old − new)"""


def merge(a, b):
    with np.errstate(all="ignore"):
        top = np.maximum(a[0], b[0])
        keep, add = np.exp(top - a[0]), np.exp(top - b[0])
        return top, a[1] * keep + b[1] * add, a[2] * keep + b[2] * add
