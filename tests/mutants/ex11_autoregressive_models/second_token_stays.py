"""the second token of a pair stays behind the new one; it is used up, too"""


def merge(ids, pair, new):
    return [new if two == pair else two[0] for two in pairwise(ids)] + ids[-1:]
