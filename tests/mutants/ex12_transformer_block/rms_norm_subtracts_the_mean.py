"""the mean is subtracted: that is the old norm, not RMSNorm"""


def rms_norm(x, gamma, epsilon=1e-5):
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + epsilon) * gamma
