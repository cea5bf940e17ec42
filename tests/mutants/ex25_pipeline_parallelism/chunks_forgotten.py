"""the chunks make boxes smaller, so that there are v·M of them"""


def bubble(S, M, v):
    return (S - 1) / (M + S - 1)
