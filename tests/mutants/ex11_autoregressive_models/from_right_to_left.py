"""the pairs are taken from right to left"""


def merge(ids, pair, new):
    out, i = [], len(ids)
    while i > 0:
        if tuple(ids[max(i - 2, 0) : i]) == pair:
            out.append(new)
            i -= 2
        else:
            out.append(ids[i - 1])
            i -= 1
    return out[::-1]
