"""α and β have changed places"""


def most_for_doubling(P, alpha, beta):
    steps = P.bit_length() - 1
    return steps * beta / (steps - 2 * (P - 1) / P) / alpha
