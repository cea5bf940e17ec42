"""the neighbours are looked at only once; a joined token has new neighbours"""


def encode(word, merges):
    ids = list(word.encode())
    known = set(pairwise(ids))
    for k, pair in enumerate(merges):
        if pair in known:
            ids = merge(ids, pair, 256 + k)
    return ids
