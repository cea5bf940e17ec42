"""every word counts once, not as often as it occurs"""


def train_bpe(words, merges):
    tokens = {word: list(word.encode()) for word in words}
    learned = []
    for new in range(256, 256 + merges):
        counts = {}
        for ids in tokens.values():
            for pair in pairwise(ids):
                counts[pair] = counts.get(pair, 0) + 1
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        learned.append(best)
        tokens = {word: merge(ids, best, new) for word, ids in tokens.items()}
    return learned
