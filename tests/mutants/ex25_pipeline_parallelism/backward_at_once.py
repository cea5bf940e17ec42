"""each micro-batch goes backward before the next goes forward"""


def gpipe(S, M):
    return [[(kind, m) for m in range(M) for kind in "FB"] for _ in range(S)]
