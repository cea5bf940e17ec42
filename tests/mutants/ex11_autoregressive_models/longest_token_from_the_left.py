"""the longest token that fits is taken from the left, not the pair learned first"""


def encode(word, merges):
    spelled = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        spelled.append(spelled[left] + spelled[right])
    rest, ids = word.encode(), []
    while rest:
        fits = [k for k, token in enumerate(spelled) if rest.startswith(token)]
        ids.append(max(fits, key=lambda k: len(spelled[k])))
        rest = rest[len(spelled[ids[-1]]) :]
    return ids
