"""the leftmost known pair is joined first, not the one learned first"""


def encode(word, merges):
    rank = {pair: k for k, pair in enumerate(merges)}
    ids, i = list(word.encode()), 0
    while i < len(ids) - 1:
        if (ids[i], ids[i + 1]) in rank:
            ids[i : i + 2] = [256 + rank[ids[i], ids[i + 1]]]
            i = 0
        else:
            i += 1
    return ids
