"""that is idle time over busy time; all time is both together"""


def bubble(S, M, v):
    return (S - 1) / (v * M)
