"""Beam search: going on with several texts at once, to find one that is likely as a whole."""

import operator
from typing import NamedTuple

import numpy as np

from minigrad.inference import filters
from minigrad.inference.decoding import Decoding, Run, Step
from minigrad.inference.generate import Generation


class BeamSearch(Decoding):
    """Keep the num_beams likeliest texts at every step; the best of those that came to an end wins.

    A step looks at every continuation of every beam by one token, in the order of the probability
    of the whole text. Among the first num_beams, those that end with a stop token (at the last
    step, all) become **hypotheses** with the score

        log p(new tokens) / n ** length_penalty,    n new tokens, the stop token included.

    Since log p is negative, a positive length penalty favours long texts, 0 leaves log p itself,
    and a negative one favours short ones. (Wu et al. 2016 divide by ((5 + n)/6) ** α instead.)
    The num_beams likeliest of the others are the next beams. Only num_beams hypotheses are kept.
    All this is as in Hugging Face's transformers.

    Arguments: num_beams, an integer from 1 to the size of the vocabulary; length_penalty;
    early_stopping, when a prompt with num_beams hypotheses is done: True, at once; False, when its
    likeliest beam, ended here, would score no better than the worst of them; "never", when no end
    up to max_new_tokens could let it. Raises ValueError or TypeError for other values.
    """

    def __init__(self, num_beams, length_penalty=1.0, early_stopping=False):
        self.num_beams = filters.at_least_one("num_beams", num_beams)
        self.length_penalty = filters.number("length_penalty", length_penalty)
        if not np.isfinite(length_penalty):
            raise ValueError(f"length_penalty is {length_penalty}, expected a finite number")
        if not isinstance(early_stopping, bool) and early_stopping != "never":
            raise ValueError(
                f'early_stopping is {early_stopping!r}, expected True, False or "never"'
            )
        self.early_stopping = early_stopping

    def start(self, batch, max_new_tokens, stop):
        return _BeamRun([_Search(self, max_new_tokens, stop) for _ in range(batch)])

    def search(self, model, ids, max_new_tokens, cache=None, stop=()):
        """All that was found: a Beams for one prompt (L,), a list of them for several.

        Arguments and errors: see ``generate``, which gives ``beams.hypotheses[0].text`` alone; but
        max_new_tokens is at least 1. A cache that is given ends with a row for each of the last
        beams.
        """
        filters.at_least_one("max_new_tokens", max_new_tokens)
        generation = Generation(model, ids, max_new_tokens, self, cache, stop)
        for _ in generation.steps():
            pass
        found = [Beams(each.hypotheses, each.tree) for each in generation.run.searches]
        return found[0] if generation.form == "one" else found

    def score(self, log_probability, length):
        """The score of ``length`` new tokens."""
        return log_probability / length**self.length_penalty

    def __repr__(self):
        return (
            f"BeamSearch({self.num_beams}, length_penalty={self.length_penalty}, "
            f"early_stopping={self.early_stopping!r})"
        )


class Hypothesis(NamedTuple):
    """A complete text: its tokens int64 (n,), the prompt's included; its score; the log-probability
    of its new tokens; and the place of its last one in the tree."""

    text: np.ndarray
    score: float
    log_probability: float
    node: int


class Node(NamedTuple):
    """A continuation that was looked at: the place of what it continues in the tree, its token, the
    log-probability of all new tokens up to it, and its fate, "kept" as a beam, "finished" as a
    hypothesis, or "dropped"."""

    parent: int | None
    token: int | None
    log_probability: float
    fate: str


class Beams(NamedTuple):
    """What a beam search found for one prompt: hypotheses, a list, the best first; and tree, a list
    of Nodes step by step, each step in falling order of probability. ``tree[0]`` is the prompt; a
    step has at least twice as many nodes as beams (if there are that many), so most are dropped."""

    hypotheses: list
    tree: list

    def path(self, node):
        """The places in the tree from the first new token to a node."""
        path = []
        while node:
            path.append(node)
            node = self.tree[node].parent
        return path[::-1]


class _BeamRun(Run):
    """Prompts are searched each for itself; ``owner`` (R,) says whose the rows are. A prompt that
    is done gives up its rows."""

    streams = False

    def __init__(self, searches):
        self.searches = searches
        self.owner = np.arange(len(searches))

    def next(self, logits, texts):
        going = []
        for i, search in enumerate(self.searches):
            if search.done:
                continue
            mine = np.flatnonzero(self.owner == i)
            rows, tokens = search.advance(logits[mine], [texts[row] for row in mine])
            if not search.done:
                going.append((tokens, mine[rows], np.full(len(rows), i)))
        if not going:
            return Step(np.array([text[-1] for text in texts]), None, True)
        tokens, rows, self.owner = (np.concatenate(each) for each in zip(*going))
        return Step(tokens, rows)

    def result(self, texts):
        return [search.hypotheses[0].text for search in self.searches]


class _Search:
    """The search for one prompt: where its beams stand in the tree, and how likely they are."""

    def __init__(self, how, max_new_tokens, stop):
        self.how, self.max_new_tokens, self.stop = how, max_new_tokens, np.unique(stop)
        self.tree = [Node(None, None, 0.0, "kept")]
        self.beams, self.log_probabilities = np.zeros(1, np.int64), np.zeros(1)
        self.hypotheses, self.length, self.done = [], 0, False

    def advance(self, logits, texts):
        """(rows, tokens): the beams to go on from and by which tokens, given the logits (k, V)
        behind k beams and their texts."""
        count, vocabulary = self.how.num_beams, logits.shape[-1]
        if count > vocabulary:
            raise ValueError(
                f"BeamSearch: num_beams is {count}, expected at most the size of the vocabulary, "
                f"{vocabulary}"
            )
        # Beams end with at most so many stop tokens each; enough others remain.
        looked_at = max(2, 1 + len(self.stop)) * count
        total, rows, tokens = _likeliest(self.log_probabilities, logits, looked_at)
        self.length += 1
        ends = np.isin(tokens, self.stop) | (self.length == self.max_new_tokens)
        finished, kept = np.flatnonzero(ends[:count]), np.flatnonzero(~ends)[:count]
        fates = np.full(len(tokens), "dropped", object)
        fates[finished], fates[kept] = "finished", "kept"
        first = len(self.tree)
        nodes = zip(self.beams[rows].tolist(), tokens.tolist(), total.tolist(), fates)
        self.tree += [Node(*each) for each in nodes]
        for i in finished:
            text, log_p = np.append(texts[rows[i]], tokens[i]), float(total[i])
            score = self.how.score(log_p, self.length)
            self.hypotheses.append(Hypothesis(text, score, log_p, int(first + i)))
        self.hypotheses.sort(key=operator.attrgetter("score"), reverse=True)
        del self.hypotheses[count:]
        self.beams, self.log_probabilities = first + kept, total[kept]
        self.done = len(kept) == 0 or self._no_better_to_come()
        return rows[kept], tokens[kept]

    def _no_better_to_come(self):
        how = self.how
        if len(self.hypotheses) < how.num_beams:
            return False
        if how.early_stopping is True:
            return True
        later = how.early_stopping == "never" and how.length_penalty > 0
        length = self.max_new_tokens if later else self.length
        return how.score(self.log_probabilities[0], length) <= self.hypotheses[-1].score


def _likeliest(log_probabilities, logits, count):
    """The ``count`` likeliest continuations by one token of texts with the given log-probabilities
    (k,) and logits (k, V) behind them, in falling order; equal ones by row and token.

    Returns log-probabilities, rows and tokens (n,), n ≤ count: impossible tokens are left out.
    """
    logits = logits.astype(np.result_type(logits, np.float32), copy=False)
    logits = logits - logits.max(axis=-1, keepdims=True)
    normaliser = np.log(np.exp(logits).sum(axis=-1, dtype=np.float64))  # (k,)
    # Of one row, no more than the first `count` can be among them.
    at_most = min(count, logits.shape[-1])
    least = np.partition(logits, -at_most, axis=-1)[:, -at_most, None]
    rows, tokens = np.nonzero((logits >= least) & (logits > -np.inf))
    total = log_probabilities[rows] + (logits[rows, tokens] - normaliser[rows])
    best = np.lexsort((tokens, rows, -total))[:count]
    return total[best], rows[best], tokens[best]
