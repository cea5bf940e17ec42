"""a u behind the line's end gives the last id, although its probability is 0"""


def draw(probabilities, u):
    count = (np.cumsum(probabilities, axis=-1) <= u[..., None]).sum(axis=-1)
    return np.minimum(count, probabilities.shape[-1] - 1)
