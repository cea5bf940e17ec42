"""that is where the ring is as good: halving and doubling is better than the ring"""


def most_for_doubling(P, alpha, beta):
    steps = P.bit_length() - 1
    return (2 * (P - 1) - steps) * alpha / (steps - 2 * (P - 1) / P) / beta
