"""backward, too, micro-batches come in order: 0 first"""


def gpipe(S, M):
    backward = [("B", m) for m in reversed(range(M))]
    return [[("F", m) for m in range(M)] + backward for _ in range(S)]
