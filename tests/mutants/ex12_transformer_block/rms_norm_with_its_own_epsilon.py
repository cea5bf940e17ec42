"""ε is left out, or is not the one that was given"""


def rms_norm(x, gamma, epsilon=1e-5):
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5) * gamma
