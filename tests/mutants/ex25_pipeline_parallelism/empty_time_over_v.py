"""v divides the empty time, but all time shrinks too"""


def bubble(S, M, v):
    return (S - 1) / (M + S - 1) / v
