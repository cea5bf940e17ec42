"""a line that ends before 1 leaves u on no token, and that gives token 0"""


def draw(probabilities, u):
    return (np.cumsum(probabilities, axis=-1) > u[..., None]).argmax(axis=-1)
