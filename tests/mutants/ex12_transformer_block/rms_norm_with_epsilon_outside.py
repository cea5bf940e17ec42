"""ε is added to the root, not to the mean square under it"""


def rms_norm(x, gamma, epsilon=1e-5):
    return x / (np.sqrt((x**2).mean(axis=-1, keepdims=True)) + epsilon) * gamma
