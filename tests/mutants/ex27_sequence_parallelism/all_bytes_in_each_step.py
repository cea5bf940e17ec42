"""in each step of a ring a rank sends a P-th of the bytes, not all"""

_sent_bytes = sent_bytes


def sent_bytes(nbytes, P, kind):
    return _sent_bytes(P * nbytes, P, kind)
