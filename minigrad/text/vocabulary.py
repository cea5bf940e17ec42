"""Whether tokens, ids and merges can be a vocabulary at all: files say the strangest things."""

import operator

LARGEST_ID = 2**31 - 1


def checked_tokens(tokens, kind):
    """Tokens of type ``kind`` to ids, from a dict or from a sequence that counts the ids."""
    if isinstance(tokens, (str, bytes)):
        raise TypeError(f"BPE: expected a sequence of tokens, got the one {tokens!r}")
    pairs = list(tokens.items()) if isinstance(tokens, dict) else [*zip(tokens, range(2**31))]
    checked, taken = {}, {}
    for token, id in pairs:
        if not isinstance(token, kind):
            raise TypeError(f"BPE: expected tokens as {kind.__name__}, got {token!r} (id {id})")
        if not token:
            raise ValueError(f"BPE: the token with id {id} is empty")
        if isinstance(id, bool) or not hasattr(id, "__index__"):
            raise TypeError(f"BPE: the id of {token!r} must be an integer, got {id!r}")
        id = operator.index(id)
        if not 0 <= id <= LARGEST_ID:
            raise ValueError(f"BPE: the id of {token!r} is {id}, outside 0 … {LARGEST_ID}")
        if token in checked:
            raise ValueError(f"BPE: token {token!r} is given twice, as {checked[token]} and {id}")
        if id in taken:
            raise ValueError(f"BPE: id {id} is given to both {taken[id]!r} and {token!r}")
        checked[token], taken[id] = id, token
    return checked


def without_special(special, vocab):
    """The vocabulary less the entries of special tokens, which have the same bytes in both."""
    texts = {id: text.encode("utf-8") for text, id in special.items()}
    for token, id in vocab.items():
        if texts.get(id, token) != token:
            raise ValueError(f"BPE: id {id} is both {token!r} and the special token {texts[id]!r}")
    return {token: id for token, id in vocab.items() if id not in texts}


def ranked_merges(merges, vocab):
    """(pair of ids to rank, rank to the id of the joined token); of equal pairs the last counts."""
    ranks, merged = {}, []
    for rank, pair in enumerate(merges):
        if len(pair) != 2 or not all(isinstance(token, bytes) for token in pair):
            raise TypeError(f"BPE: merge {rank} must be two tokens as bytes, got {pair!r}")
        left, right = pair
        for token in (left, right, left + right):
            if token not in vocab:
                raise ValueError(
                    f"BPE: merge {rank}, {left!r} and {right!r}, does not fit the vocabulary: "
                    f"{token!r} is not in it"
                )
        ranks[vocab[left], vocab[right]] = rank
        merged.append(vocab[left + right])
    return ranks, merged
