"""the flat part of the roof is missing"""


def attainable(intensity, peak, bandwidth):
    return bandwidth * intensity
