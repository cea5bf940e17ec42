"""pairs that overlap, as in aaa, are not counted each"""


def train_bpe(words, merges):
    tokens = {word: list(word.encode()) for word in words}
    learned = []
    for new in range(256, 256 + merges):
        counts = {}
        for word, ids in tokens.items():
            for i, pair in enumerate(pairwise(ids)):
                if not (i and ids[i - 1] == ids[i] == ids[i + 1]):
                    counts[pair] = counts.get(pair, 0) + words[word]
        if not counts:
            break
        learned.append(min(counts, key=lambda pair: (-counts[pair], pair)))
        tokens = {word: merge(ids, learned[-1], new) for word, ids in tokens.items()}
    return learned
