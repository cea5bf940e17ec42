"""gathered again takes two AllGathers more, one for each pair of products"""

_sent_bytes = sent_bytes


def sent_bytes(nbytes, P, kind):
    counts = _sent_bytes(nbytes, P, kind)
    if kind == "gathered again":
        counts["all_gather"] -= (P - 1) / P * nbytes
    return counts
