"""where two tokens meet, u falls on the one that ends there, not on the next"""


def draw(probabilities, u):
    ends = np.cumsum(probabilities, axis=-1)
    return (ends < u[..., None] * ends[..., -1:]).sum(axis=-1)
