"""only the rank's own keys are counted"""


def work(length, P, layout):
    n = length // P
    return [n * (n + 1) // 2] * P
