"""The two halves of byte-pair encoding: learn which pairs to join, and join them in a new word.

Both keep the ids in a doubly linked list, so that joining two neighbours costs the same in a word
of five letters and in one of a hundred thousand, and a heap, which knows the best pair at any time.
"""

from collections import Counter, defaultdict
from heapq import heapify, heappop, heappush
from itertools import count, pairwise


def apply_merges(ids, ranks, merged):
    """Ids after all merges that apply: the lowest rank first, then from left to right.

    Takes n log n steps for n ids.

    Args:
        ids: list of ids, of single bytes at first.
        ranks: (left id, right id) to the rank of their merge.
        merged: rank to the id of the joined token.

    >>> apply_merges([1, 2, 3, 1, 2, 1, 2], ranks={(1, 2): 0, (4, 4): 1}, merged=[4, 5])
    [4, 3, 5]
    """
    # None, which is in no pair, stands behind the last id, and as ids[-1] before the first.
    ids = [*ids, None]
    left, right = _links(len(ids))
    queue = [(ranks[pair], i) for i, pair in enumerate(pairwise(ids)) if pair in ranks]
    heapify(queue)
    while queue:
        rank, i = heappop(queue)
        j = right[i]
        if ranks.get((ids[i], ids[j])) != rank:
            continue  # an earlier merge took one of the two
        ids[i], ids[j] = merged[rank], None
        _unlink(j, left, right)
        for first, second in ((left[i], i), (i, right[i])):
            new_rank = ranks.get((ids[first], ids[second]))
            if new_rank is not None:
                heappush(queue, (new_rank, first))
    return [id for id in ids if id is not None]


def learn_merges(words, vocab, new_tokens, tick=lambda: None):
    """(vocabulary, merges) after joining the most frequent pair again and again.

    Among equally frequent pairs the one with the lowest left id goes first, then the lowest right
    id. Joining a pair changes the counts of its neighbours only, and only they are counted anew.

    Args:
        words: Counter of the pre-tokenized words of a text.
        vocab: the bytes of each token to its id, at first: the single bytes.
        new_tokens: how many tokens to add; fewer are added when no pair is left.
        tick: called once for each token added.

    >>> vocab, merges = learn_merges({"abc": 2, "cab": 1}, {b"a": 0, b"b": 1, b"c": 2}, 2)
    >>> merges, vocab[b"abc"]
    ([(b'a', b'b'), (b'ab', b'c')], 4)
    """
    vocab, merges, size = dict(vocab), [], len(vocab) + new_tokens
    tokens = {id: token for token, id in vocab.items()}
    new_ids = count(max(tokens) + 1)
    row = _Row(words, vocab)
    queue = [(-times, pair) for pair, times in row.counts.items()]
    heapify(queue)
    while queue and len(vocab) < size:
        times, pair = heappop(queue)
        if -times != row.counts[pair]:
            # Other merges have used up some of its places: it comes again, further down.
            if row.counts[pair] > 0:
                heappush(queue, (-row.counts[pair], pair))
            continue
        left, right = tokens[pair[0]], tokens[pair[1]]
        merges.append((left, right))
        if left + right not in vocab:  # "abc" may have come from "ab" and "c" before
            vocab[left + right] = next(new_ids)
            tokens[vocab[left + right]] = left + right
            tick()
        for grown in row.join(pair, vocab[left + right]):
            heappush(queue, (-row.counts[grown], grown))
    return vocab, merges


class _Row:
    """All different words in one linked list, with None around each, and the pairs in it.

    Attributes:
        counts: Counter of pairs of ids; each place counts as often as its word occurs.
        places: pair to the indices where it begins, or once began.
    """

    def __init__(self, words, vocab):
        self.ids, self.times = [None], [0]
        for word, times in words.items():
            self.ids += [vocab[bytes([byte])] for byte in word.encode("utf-8")] + [None]
            self.times += [times] * (len(self.ids) - len(self.times))
        self.left, self.right = _links(len(self.ids))
        self.counts, self.places = Counter(), defaultdict(list)
        for i, pair in enumerate(pairwise(self.ids)):
            if None not in pair:
                self._count(pair, i)

    def join(self, pair, new):
        """Put the id ``new`` in all places of a pair, from left to right; the pairs that grew."""
        ids, grown = self.ids, set()
        for i in sorted(self.places.pop(pair)):
            j = self.right[i]
            if (ids[i], ids[j]) != pair:
                continue  # taken by another merge, or by this one: "aaa" holds "aa" once
            before, after = self.left[i], self.right[j]
            self.counts[ids[before], ids[i]] -= self.times[i]
            self.counts[ids[j], ids[after]] -= self.times[i]
            ids[i], ids[j] = new, None
            _unlink(j, self.left, self.right)
            for first, second in ((before, i), (i, after)):
                if ids[first] is not None and ids[second] is not None:
                    self._count((ids[first], ids[second]), first)
                    grown.add((ids[first], ids[second]))
        del self.counts[pair]
        return grown

    def _count(self, pair, i):
        self.counts[pair] += self.times[i]
        self.places[pair].append(i)


def _links(length):
    """(left, right): the index before and behind each index."""
    return list(range(-1, length - 1)), list(range(1, length + 1))


def _unlink(i, left, right):
    """Take an index out of the list."""
    right[left[i]], left[right[i]] = right[i], left[i]
