"""the pairs are counted only once; a merge changes them"""


def train_bpe(words, merges):
    counts = {}
    for word, times in words.items():
        for pair in pairwise(word.encode()):
            counts[pair] = counts.get(pair, 0) + times
    return sorted(counts, key=lambda pair: (-counts[pair], pair))[:merges]
