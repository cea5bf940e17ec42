"""x is divided by its length: the sum of the squares, not their mean"""


def rms_norm(x, gamma, epsilon=1e-5):
    return x / np.sqrt((x**2).sum(axis=-1, keepdims=True) + epsilon) * gamma
