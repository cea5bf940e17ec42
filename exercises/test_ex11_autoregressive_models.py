"""Tests of exercise 11: autoregressive models, from counting to byte-pair encoding."""

import itertools
import math

import numpy as np

from minigrad.course.testing import expect


def probabilities_by_loops(ids, n, V, alpha, slip=None):
    """The same table, cell by cell, from a list of all n-grams as tuples."""
    ids = [int(token) for token in ids]
    places = range(0, len(ids) - n + 1, n if slip == "side by side" else 1)
    grams = [tuple(ids[i : i + n]) for i in places]
    grams = grams[:-1] if slip == "one short" else grams
    if slip == "once":
        grams = list(dict.fromkeys(grams))
    p = np.zeros((V,) * n)
    for gram in itertools.product(range(V), repeat=n):
        context = sum(other[:-1] == gram[:-1] for other in grams)
        whole = context + alpha * V
        if slip == "alpha once":
            whole = context + alpha
        if slip == "end of text":
            whole = sum(tuple(ids[i : i + n - 1]) == gram[:-1] for i in range(len(ids) - n + 2))
            whole = (whole if n > 1 else len(ids)) + alpha * V
        if slip == "sum not smoothed":
            whole = max(context, 1)
        if slip == "joint":
            whole = len(grams) + alpha * V**n
        added = 0 if slip == "count not smoothed" else alpha
        p[gram] = (grams.count(gram) + added) / whole
    return p


def whole_rows(ids, n, V, alpha):
    """What counts[array] += 1 does: an array picks rows of the table, a tuple picks one cell."""
    counts = np.zeros((V,) * n)
    for i in range(len(ids) - n + 1):
        counts[np.unique(ids[i : i + n])] += 1
    return (counts + alpha) / (counts.sum(axis=-1, keepdims=True) + alpha * V)


def chain(p, ids, slip=None):
    """(log p, N), step by step with Python's own numbers."""
    n, ids = p.ndim, [int(token) for token in ids]
    steps = [float(p[tuple(ids[i - n + 1 : i + 1])]) for i in range(n - 1, len(ids))]
    if slip == "the other way round":
        steps = [float(p[tuple(ids[i - n + 1 : i + 1][::-1])]) for i in range(n - 1, len(ids))]
    if slip == "first left out":
        steps = steps[1:]
    if slip == "last left out":
        steps = steps[:-1]
    log = math.log2 if slip == "bits" else math.log
    if slip == "mean":
        return math.fsum(map(log, steps)) / len(steps), len(steps)
    if slip == "minus":
        return -math.fsum(map(log, steps)), len(steps)
    return math.fsum(log(step) for step in steps), len(ids) if slip == "all tokens" else len(steps)


def surprise(logits, token):
    """-log p of one token: log Σ exp(s_k - s_token), written out."""
    gaps = [float(s) - float(logits[token]) for s in logits]
    top = max(gaps)
    return top + math.log(sum(math.exp(gap - top) for gap in gaps))


def perplexity_by_loops(logits, ids, mask, slip=None):
    """The same number, token by token."""
    B, L = mask.shape
    texts = [[] for _ in range(B)]
    if slip == "from the left":
        mask = np.arange(L) < mask.sum(axis=1, keepdims=True)
    for b in range(B):
        for i in range(slip != "own place", L):
            real = bool(mask[b, i]) and bool(mask[b, i - 1])
            if slip == "before padding":
                real = bool(mask[b, i - 1])
            if slip == "padding counts":
                real = True
            if slip in ("after padding", "own place"):
                real = bool(mask[b, i])
            place = i if slip in ("not shifted", "own place") else i - 1
            if real:
                texts[b].append(surprise(logits[b, place], ids[b, i]))
    texts = [text for text in texts if text]
    if slip == "mean of texts":
        return math.exp(np.mean([np.mean(text) for text in texts]))
    if slip == "mean of perplexities":
        return float(np.mean([math.exp(np.mean(text)) for text in texts]))
    every = [value for text in texts for value in text]
    if slip == "all tokens":
        return math.exp(sum(every) / int(mask.sum()))
    if slip == "padding in N":
        return math.exp(sum(every) / (B * (L - 1)))
    if slip == "base 2":
        return 2 ** float(np.mean(every))
    return math.exp(np.mean(every))


def as_text(ids):
    return "".join(chr(0x4E00 + token) for token in ids)


def as_ids(text):
    return [ord(sign) - 0x4E00 for sign in text]


def replaced(ids, pair, new):
    """One merge by str.replace, which goes from left to right and uses no letter twice."""
    return as_ids(as_text(ids).replace(as_text(pair), as_text([new])))


def merges_by_replace(words, merges, slip=None):
    """The same training, on strings."""
    words = {as_text(word.encode()): times for word, times in words.items()}
    if slip == "characters":
        words = {as_text(map(ord, bytes(as_ids(w)).decode())): k for w, k in words.items()}
    if slip == "across words":
        words = {"".join(word * times for word, times in words.items()): 1}
    found = []
    for new in range(256, 256 + merges):
        counts = {}
        for word, times in words.items():
            for i in range(len(word) - 1):
                more = 1 if slip == "every word once" else times
                if slip == "no overlap" and i and word[i - 1] == word[i] == word[i + 1]:
                    more = 0
                counts[word[i : i + 2]] = counts.get(word[i : i + 2], 0) + more
        if not counts or (slip == "ends early" and max(counts.values()) == 1):
            break
        if slip == "first met":
            best = max(counts, key=counts.get)
        elif slip == "largest":
            best = max(counts, key=lambda pair: (counts[pair], pair))
        else:
            best = min(counts, key=lambda pair: (-counts[pair], pair))
        found.append(tuple(as_ids(best)))
        if slip != "counted once":
            words = {word.replace(best, as_text([new])): k for word, k in words.items()}
    if slip == "counted once":
        order = sorted(counts, key=lambda pair: (-counts[pair], pair))
        return [tuple(as_ids(pair)) for pair in order[:merges]]
    return found


def encoded(word, merges):
    """All merges one after the other, in the order of training, each wherever it applies."""
    ids = list(word.encode())
    for k, pair in enumerate(merges):
        ids = replaced(ids, pair, 256 + k)
    return ids


def encoded_by(choose, word, merges):
    """What comes out when choose(known pairs from left to right) says which is joined next."""
    ids = list(word.encode())
    while known := [pair for pair in itertools.pairwise(ids) if pair in merges]:
        pair = choose(known)
        ids = replaced(ids, pair, 256 + merges.index(pair))
    return ids


def encoded_without_looking_again(word, merges):
    """What comes out when only the pairs of bytes are joined, in the order of training."""
    ids = list(word.encode())
    known = set(itertools.pairwise(ids))
    for k, pair in enumerate(merges):
        if pair in known:
            ids = replaced(ids, pair, 256 + k)
    return ids


def from_the_left(word, merges):
    """What comes out when the leftmost known pair is joined, and no other of its kind."""
    ids = list(word.encode())
    while True:
        known = [i for i in range(len(ids) - 1) if (ids[i], ids[i + 1]) in merges]
        if not known:
            return ids
        i = known[0]
        new = 256 + merges.index((ids[i], ids[i + 1]))
        ids = [*ids[:i], new, *ids[i + 2 :]]


def longest_tokens(word, merges):
    """What comes out when the longest token that fits is cut off on the left, again and again."""
    tokens = {bytes([byte]): byte for byte in range(256)}
    spelled = list(tokens)
    for left, right in merges:
        spelled.append(spelled[left] + spelled[right])
        tokens.setdefault(spelled[-1], len(spelled) - 1)
    ids, rest = [], word.encode()
    while rest:
        size = max(k for k in range(1, len(rest) + 1) if rest[:k] in tokens)
        ids.append(tokens[rest[:size]])
        rest = rest[size:]
    return ids


ALPHA_ONCE = "the sum grows by alpha · V, since alpha is added to each of V counts, not once"
SUM_NOT_SMOOTHED = "alpha is added to the counts, but not to their sum"
COUNT_NOT_SMOOTHED = "alpha is added to the sum, but not to the counts"
JOINT = "it is divided by all n-grams of the text, not by those with the same context"
SIDE_BY_SIDE = "the n-grams are cut side by side; they overlap, one starts at each token"
ONE_SHORT = "the last n-gram of the text is not counted"
ONCE = "an n-gram that occurs several times is counted once; counts[...] += 1 does that with arrays"
END_OF_TEXT = "the last n − 1 tokens are counted as a context, but nothing follows them"
WHOLE_ROWS = "an array as an index picks whole rows of the table; a tuple picks one cell"
WRONG_AXIS = "the sum is over the context, not over the token that follows"
ALL_TOKENS = "N counts the tokens that are given, too; they were not predicted"
BITS = "the logarithm is to base 2, not the natural one"
FIRST_LEFT_OUT = "the first n-gram is left out; a text of L tokens holds L − n + 1"
LAST_LEFT_OUT = "the last n-gram is left out; a text of L tokens holds L − n + 1"
MEAN = "that is the mean of the logarithms, not their sum"
MINUS = "that is −log p, not log p"
OTHER_WAY = "the table is read the wrong way round: the context comes first, then the token"
UNDERFLOW = "the probabilities are multiplied first, and the product is 0 as a float"
NOT_SHIFTED = "logits are paired with the token at their own place, not with the next one"
OWN_PLACE = "logits are paired with the token at their own place; they are about the next one"
BEFORE_PADDING = "padding that follows the last real token is counted, predicted from that token"
PADDING_IN_N = "padding adds nothing to the sum, but it is counted in N"
FROM_THE_LEFT_EDGE = "a text is taken to begin at place 0; some are padded on the left"
ONE_LARGEST = "one largest logit is subtracted from all rows; each row needs its own"
PADDING_COUNTS = "padding is predicted and counted like text"
AFTER_PADDING = "the first token of a text padded on the left is counted, predicted from padding"
MEAN_OF_TEXTS = "every text is averaged for itself first, so tokens of short texts count for more"
MEAN_OF_PERPLEXITIES = "perplexities of texts are averaged; the mean is of −log p, over all tokens"
DIVIDED_BY_ALL = "the sum is divided by all real tokens, not by those that are predicted"
BASE_2 = "it is 2 to the mean of natural logarithms, not e"
NOT_EXPONENTIATED = "that is the mean of −log p, without exp"
OVERFLOW = "a row's own largest logit is not subtracted first: exp overflows, or gives only zeros"
LOG_OF_ZERO = (
    "the log is taken of a probability that has become 0: −log p is not computed from logits"
)
FIRST_ONLY = "only the first pair is joined"
USED_TWICE = "a token is used for two pairs: after a pair, go on behind it"
SECOND_STAYS = "the second token of a pair stays behind the new one; it is used up, too"
LAST_LOST = "the last token is lost when it belongs to no pair"
RIGHT_TO_LEFT = "the pairs are taken from right to left"
EITHER_ORDER = "the pair is joined in either order"
EVERY_WORD_ONCE = "every word counts once, not as often as it occurs"
ACROSS_WORDS = "pairs are counted across the ends of words"
FIRST_MET = "among equals the pair met first is taken, not the one with the smallest ids"
LARGEST = "among equals the pair with the largest ids is taken, not the smallest"
COUNTED_ONCE = "the pairs are counted only once; a merge changes them"
ENDS_EARLY = "training ends at pairs that occur only once; they are joined, too"
CHARACTERS = "a word starts as its characters, not as its bytes in UTF-8"
NO_OVERLAP = "pairs that overlap, as in aaa, are not counted each"
FROM_THE_LEFT = "the leftmost known pair is joined first, not the one learned first"
LATEST_FIRST = "the pair learned last is joined first, not the one learned first"
LONGEST = "the longest token that fits is taken from the left, not the pair learned first"
SMALLEST = "the pair with the smallest ids is joined first, not the one learned first"
NOT_AGAIN = "the neighbours are looked at only once; a joined token has new neighbours"
BYTES_ONLY = "nothing is joined"


def probability_slips(ids, n, V, alpha):
    def slipped(slip):
        return lambda: probabilities_by_loops(ids, n, V, alpha, slip)

    return {
        ALPHA_ONCE: slipped("alpha once"),
        SUM_NOT_SMOOTHED: slipped("sum not smoothed"),
        COUNT_NOT_SMOOTHED: slipped("count not smoothed"),
        JOINT: slipped("joint"),
        SIDE_BY_SIDE: slipped("side by side"),
        ONE_SHORT: slipped("one short"),
        ONCE: slipped("once"),
        END_OF_TEXT: slipped("end of text"),
        WHOLE_ROWS: lambda: whole_rows(ids, n, V, alpha),
    }


def test_probabilities_after_six_tokens_by_hand(answer):
    ids = np.array([0, 1, 0, 0, 1, 2])  # pairs: 01, 10, 00, 01, 12
    want = np.array([[2, 3, 1], [2, 1, 2], [1, 1, 1]]) / np.array([[6], [5], [3]])
    counts = np.array([[1, 2, 0], [1, 0, 1], [0, 0, 0]])
    slips = probability_slips(ids, 2, 3, 1.0)
    slips[WRONG_AXIS] = (counts + 1.0) / (counts.sum(axis=0, keepdims=True) + 3.0)
    expect(answer.ngram_probabilities(ids, 2, 3, 1.0), want, mistakes=slips)


def test_probabilities_of_single_tokens_have_an_empty_context(answer, rng):
    ids = np.append(rng.integers(0, 5, size=23), [0, 0, 3])
    expect(
        answer.ngram_probabilities(ids, 1, 5, 0.25),
        (np.bincount(ids, minlength=5) + 0.25) / (26 + 0.25 * 5),
        mistakes=probability_slips(ids, 1, 5, 0.25),
    )


def test_probabilities_of_longer_contexts_agree_with_counting_one_by_one(answer, rng):
    for n, V, L, alpha in ((2, 7, 41, 0.5), (3, 4, 60, 0.01), (4, 2, 30, 2.0)):
        ids = rng.integers(0, V, size=L)
        want = probabilities_by_loops(ids, n, V, alpha)
        slips = probability_slips(ids, n, V, alpha)
        expect(answer.ngram_probabilities(ids, n, V, alpha), want, mistakes=slips)


def random_table(rng, V, n):
    p = rng.uniform(0.05, 1.0, size=(V,) * n)
    return p / p.sum(axis=-1, keepdims=True)


def chain_slips(p, ids):
    names = {
        ALL_TOKENS: "all tokens",
        BITS: "bits",
        OTHER_WAY: "the other way round",
        MEAN: "mean",
        MINUS: "minus",
    }
    if len(ids) > p.ndim:
        names |= {FIRST_LEFT_OUT: "first left out", LAST_LEFT_OUT: "last left out"}
    return {words: chain(p, ids, slip) for words, slip in names.items()}


def test_log_likelihood_of_four_tokens_by_hand(answer):
    p = np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [0.3, 0.6, 0.1]])
    ids = np.array([1, 2, 1, 0])  # p(2 | 1) = 0.7, p(1 | 2) = 0.6, p(0 | 1) = 0.1
    total = math.log(0.7) + math.log(0.6) + math.log(0.1)
    expect(answer.log_likelihood(p, ids), (total, 3), mistakes=chain_slips(p, ids))


def test_log_likelihood_with_any_length_of_context(answer, rng):
    for n, V, L in ((1, 6, 17), (2, 5, 2), (3, 4, 31), (4, 3, 12)):
        p, ids = random_table(rng, V, n), rng.integers(0, V, size=L)
        expect(answer.log_likelihood(p, ids), chain(p, ids), mistakes=chain_slips(p, ids))


def test_log_likelihood_of_a_long_text_is_not_the_logarithm_of_zero(answer, rng):
    p, ids = random_table(rng, 9, 2), rng.integers(0, 9, size=3000)
    expect(
        answer.log_likelihood(p, ids),
        chain(p, ids),
        mistakes={UNDERFLOW: (-math.inf, 2999)} | chain_slips(p, ids),
    )


def perplexity_slips(logits, ids, mask):
    def slipped(slip):
        return lambda: perplexity_by_loops(logits, ids, mask, slip)

    return {
        NOT_SHIFTED: slipped("not shifted"),
        OWN_PLACE: slipped("own place"),
        PADDING_COUNTS: slipped("padding counts"),
        AFTER_PADDING: slipped("after padding"),
        BEFORE_PADDING: slipped("before padding"),
        PADDING_IN_N: slipped("padding in N"),
        FROM_THE_LEFT_EDGE: slipped("from the left"),
        MEAN_OF_TEXTS: slipped("mean of texts"),
        MEAN_OF_PERPLEXITIES: slipped("mean of perplexities"),
        DIVIDED_BY_ALL: slipped("all tokens"),
        BASE_2: slipped("base 2"),
        NOT_EXPONENTIATED: lambda: math.log(perplexity_by_loops(logits, ids, mask)),
    }


def test_perplexity_of_three_tokens_by_hand(answer):
    p = np.array([[[0.5, 0.125, 0.375], [0.5, 0.25, 0.25], [0.25, 0.25, 0.5]]])
    ids, mask = np.array([[0, 1, 0]]), np.ones((1, 3), dtype=bool)
    # 1 after 0 has p = 1/8, then 0 has p = 1/2: the mean of −log p is log 4
    slips = perplexity_slips(np.log(p), ids, mask)
    expect(answer.perplexity(np.log(p), ids, mask), 4.0, mistakes=slips)


def test_perplexity_is_taken_over_all_predicted_tokens_of_the_batch(answer, rng):
    for B, L, V in ((3, 7, 5), (1, 2, 11), (4, 9, 2)):
        logits = rng.normal(size=(B, L, V)) * 2
        ids, mask = rng.integers(0, V, size=(B, L)), np.ones((B, L), dtype=bool)
        slips = perplexity_slips(logits, ids, mask)
        want = perplexity_by_loops(logits, ids, mask)
        expect(answer.perplexity(logits, ids, mask), want, mistakes=slips)


def test_padding_on_the_right_does_not_count(answer, rng):
    logits, ids = 2 * rng.normal(size=(5, 8, 6)), rng.integers(0, 6, size=(5, 8))
    mask = np.arange(8) < np.array([[8], [3], [5], [1], [2]])  # of one token none is predicted
    logits[~mask] *= 5  # what a model says about padding may be anything
    slips = perplexity_slips(logits, ids, mask)
    want = perplexity_by_loops(logits, ids, mask)
    expect(answer.perplexity(logits, ids, mask), want, mistakes=slips)


def test_no_token_is_predicted_from_padding_on_the_left(answer, rng):
    logits, ids = 2 * rng.normal(size=(3, 9, 4)), rng.integers(0, 4, size=(3, 9))
    mask = np.arange(9) >= np.array([[6], [0], [3]])
    logits[~mask] *= 5
    slips = perplexity_slips(logits, ids, mask)
    want = perplexity_by_loops(logits, ids, mask)
    expect(answer.perplexity(logits, ids, mask), want, mistakes=slips)


def test_perplexity_of_large_logits_neither_overflows_nor_divides_by_zero(answer):
    logits = np.array([[[1500.0, 1498.0, 1490.0], [-900.0, 0.0, -1000.0], [0.0, 0.0, 0.0]]])
    ids, mask = np.array([[1, 1, 0]]), np.ones((1, 3), dtype=bool)
    near = 2 + math.log(1 + math.exp(-2) + math.exp(-10))  # −log p of token 1, then 900 of token 0
    slips = perplexity_slips(logits, ids, mask) | {
        OVERFLOW: math.nan,
        LOG_OF_ZERO: math.inf,
        ONE_LARGEST: 0.0,
    }
    want = math.exp((near + 900) / 2)
    expect(answer.perplexity(logits, ids, mask), want, mistakes=slips, tolerance=1e-9)


def merge_slips(ids, pair, new):
    text, both, one = as_text(ids), as_text(pair), as_text([new])
    twice, previous = [], None
    for token in ids:
        if (previous, token) == pair:
            twice[-1:] = [new] if twice[-1] == previous else [*twice[-1:], new]
        else:
            twice.append(token)
        previous = token
    stays = [new if two == pair else two[0] for two in itertools.pairwise(ids)] + ids[-1:]
    last_lost = as_ids(text.replace(both, one))
    if not text.endswith(both):
        last_lost = last_lost[:-1]
    return {
        FIRST_ONLY: as_ids(text.replace(both, one, 1)),
        RIGHT_TO_LEFT: as_ids(text[::-1].replace(both[::-1], one)[::-1]),
        USED_TWICE: twice,
        SECOND_STAYS: stays,
        LAST_LOST: last_lost,
        EITHER_ORDER: as_ids(text.replace(both, one).replace(both[::-1], one)),
        BYTES_ONLY: list(ids),
    }


def test_a_merge_joins_every_pair(answer):
    expect(
        answer.merge([1, 2, 3, 1, 2, 2, 1], (1, 2), 9),
        [9, 3, 9, 2, 1],
        mistakes=merge_slips([1, 2, 3, 1, 2, 2, 1], (1, 2), 9),
    )
    expect(answer.merge([4, 7], (4, 7), 300), [300], mistakes={BYTES_ONLY: [4, 7]})


def test_a_merge_uses_no_token_twice(answer):
    for length in (2, 3, 4, 5):
        ids = [5] * length + [6]
        want = [8] * (length // 2) + [5] * (length % 2) + [6]
        expect(answer.merge(ids, (5, 5), 8), want, mistakes=merge_slips(ids, (5, 5), 8))


def test_a_merge_agrees_with_replacing_in_a_string(answer, rng):
    for alphabet, length in ((2, 30), (3, 50), (2, 1), (4, 0)):
        ids = rng.integers(0, alphabet, size=length).tolist()
        for pair in ((0, 1), (1, 0), (1, 1)):
            slips = merge_slips(ids, pair, 77)
            expect(answer.merge(ids, pair, 77), replaced(ids, pair, 77), mistakes=slips)
    expect(answer.merge([0, 1, 1], (1, 1), 2), [0, 2])


def training_slips(words, merges):
    def slipped(slip):
        return lambda: merges_by_replace(words, merges, slip)

    names = {
        EVERY_WORD_ONCE: "every word once",
        ACROSS_WORDS: "across words",
        FIRST_MET: "first met",
        LARGEST: "largest",
        COUNTED_ONCE: "counted once",
        CHARACTERS: "characters",
        NO_OVERLAP: "no overlap",
        ENDS_EARLY: "ends early",
    }
    return {words_: slipped(slip) for words_, slip in names.items()}


def test_training_on_three_words_by_hand(answer):
    words = {"see": 2, "bee": 4, "be": 1}  # b is byte 98, e 101, s 115
    want = [(101, 101), (98, 256), (115, 256), (98, 101)]  # ee 6, then b+ee 4, s+ee 2, b+e 1
    expect(answer.train_bpe(words, 4), want, mistakes=training_slips(words, 4))


def test_training_takes_the_smallest_ids_among_equals(answer):
    words = {"dc": 2, "ba": 2, "db": 2, "bd": 1}
    want = [(98, 97), (100, 98), (100, 99), (98, 100)]
    expect(answer.train_bpe(words, 4), want, mistakes=training_slips(words, 4))


def test_training_starts_from_bytes_and_counts_pairs_that_overlap(answer):
    words = {"né": 3, "thé": 1, "aaa": 2, "xy": 3}  # é is 195, 169
    want = merges_by_replace(words, 3)  # é 4, then aa: two in each aaa
    expect(answer.train_bpe(words, 3), want, mistakes=training_slips(words, 3))


def test_training_ends_when_every_word_is_one_token(answer):
    words = {"ab": 3, "abc": 2}
    slips = training_slips(words, 9)
    expect(answer.train_bpe(words, 9), [(97, 98), (256, 99)], mistakes=slips)


def random_words(rng, letters, count):
    words = {}
    for _ in range(count):
        word = "".join(rng.choice(list(letters), size=int(rng.integers(1, 9))))
        words[word] = int(rng.integers(1, 30))
    return words


def test_training_agrees_with_training_on_strings(answer, rng):
    for letters, count, merges in (("ab", 12, 8), ("aeiou", 30, 15), ("éa日", 9, 6)):
        words = random_words(rng, letters, count) | {letters: 7}
        want = merges_by_replace(words, merges)
        expect(answer.train_bpe(words, merges), want, mistakes=training_slips(words, merges))


def encoding_slips(word, merges):
    return {
        SMALLEST: lambda: encoded_by(min, word, merges),
        FROM_THE_LEFT: lambda: from_the_left(word, merges),
        LATEST_FIRST: lambda: encoded_by(lambda known: max(known, key=merges.index), word, merges),
        LONGEST: lambda: longest_tokens(word, merges),
        NOT_AGAIN: lambda: encoded_without_looking_again(word, merges),
        CHARACTERS: [ord(letter) for letter in word],
        BYTES_ONLY: list(word.encode()),
    }


def test_encoding_a_word_by_hand(answer):
    merges = [(99, 100), (97, 98), (98, 99), (256, 101), (257, 99), (257, 256)]
    # the tokens 256 … 261 are cd, ab, bc, cde, abc, abcd; in abcde first cd is joined, then ab,
    # then cd + e, which was learned before ab + cd
    expect(answer.encode("abcde", merges), [257, 259], mistakes=encoding_slips("abcde", merges))
    expect(answer.encode("abab", merges), [257, 257], mistakes=encoding_slips("abab", merges))


def test_encoding_knows_every_byte(answer):
    merges = [(195, 169), (110, 256)]  # é, né
    for word, want in (("né", [257]), ("ñé", [195, 177, 256]), ("🙂", [240, 159, 153, 130])):
        expect(answer.encode(word, merges), want, mistakes=encoding_slips(word, merges))


def test_encoding_joins_by_the_order_of_training(answer, rng):
    for letters, merges in (("ab", 9), ("abc", 14)):
        learned = merges_by_replace(random_words(rng, letters, 15) | {letters: 9}, merges)
        for _ in range(6):
            word = "".join(rng.choice(list(letters), size=15)) + letters
            slips = encoding_slips(word, learned)
            expect(answer.encode(word, learned), encoded(word, learned), mistakes=slips)
