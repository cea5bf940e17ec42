"""a token is used for two pairs: after a pair, go on behind it"""


def merge(ids, pair, new):
    out, used = [], False
    for i in range(len(ids)):
        if tuple(ids[i : i + 2]) == pair:
            out.append(new)
            used = True
        else:
            if not used:
                out.append(ids[i])
            used = False
    return out
