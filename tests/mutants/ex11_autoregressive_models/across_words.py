"""pairs are counted across the ends of words"""


def train_bpe(words, merges):
    ids, learned = [], []
    for word, times in words.items():
        ids += list(word.encode()) * times
    for new in range(256, 256 + merges):
        counts = {}
        for pair in pairwise(ids):
            counts[pair] = counts.get(pair, 0) + 1
        if not counts:
            break
        learned.append(min(counts, key=lambda pair: (-counts[pair], pair)))
        ids = merge(ids, learned[-1], new)
    return learned
