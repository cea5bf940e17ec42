"""the probabilities are multiplied first, and the product is 0 as a float"""


def log_likelihood(p, ids):
    n = p.ndim
    product = 1.0
    for i in range(len(ids) - n + 1):
        product *= p[tuple(ids[i : i + n])]
    with np.errstate(divide="ignore"):
        return np.log(product), len(ids) - n + 1
