"""the higher of the two is taken, and the lower is the limit"""


def attainable(intensity, peak, bandwidth):
    return np.maximum(peak, bandwidth * intensity)
