"""the pair learned last is joined first, not the one learned first"""


def encode(word, merges):
    rank = {pair: k for k, pair in enumerate(merges)}
    ids = list(word.encode())
    while known := [pair for pair in pairwise(ids) if pair in rank]:
        last = max(known, key=rank.get)
        ids = merge(ids, last, 256 + rank[last])
    return ids
