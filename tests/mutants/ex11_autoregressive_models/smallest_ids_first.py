"""the pair with the smallest ids is joined first, not the one learned first"""


def encode(word, merges):
    rank = {pair: k for k, pair in enumerate(merges)}
    ids = list(word.encode())
    while known := [pair for pair in pairwise(ids) if pair in rank]:
        ids = merge(ids, min(known), 256 + rank[min(known)])
    return ids
