"""among equals the pair met first is taken, not the one with the smallest ids"""


def train_bpe(words, merges):
    tokens = {word: list(word.encode()) for word in words}
    learned = []
    for new in range(256, 256 + merges):
        counts = {}
        for word, ids in tokens.items():
            for pair in pairwise(ids):
                counts[pair] = counts.get(pair, 0) + words[word]
        if not counts:
            break
        best = max(counts, key=counts.get)
        learned.append(best)
        tokens = {word: merge(ids, best, new) for word, ids in tokens.items()}
    return learned
