"""Exercise 11: autoregressive models, from counting to byte-pair encoding.

Notebook: 11_autoregressive_models.ipynb.

First a language model: count, smooth, and score a text by the chain rule. Then the number by which
any language model is measured, its perplexity, for texts of different lengths in one batch. Then
the tokenizer that large models read with: one merge, its training, and its encoder.

Letters: V the size of the vocabulary, n the length of the n-grams, B texts in a batch, L tokens in
each. A token is an integer, its id.
"""

from itertools import pairwise

import numpy as np


def ngram_probabilities(ids, n, V, alpha):
    """Count the n-grams of a text, and turn the counts into smoothed probabilities.

    Every n neighbours in the text are one n-gram. Its first n − 1 tokens are its context:

        p(token | context) = (times(context, token) + alpha) / (times(context) + alpha · V)

    where times(context) is how often the context was followed by any token (the last n − 1 tokens
    of the text are followed by nothing).

    Arguments:
        ids: (L,) integers from 0 to V − 1, the text, with L >= n.
        n: at least 1. For n = 1 the context is empty.
        V: how many different tokens there are.
        alpha: what is added to each count, a positive number.
    Returns: (V, ..., V) float64 with n axes, indexed by the context, then the token:
        p[i, j, k] is the probability of k after i and j, for n = 3.

    >>> ngram_probabilities(np.array([0, 1, 0, 0]), n=2, V=2, alpha=1.0)  # 01, 10, 00
    array([[0.5       , 0.5       ],
           [0.66666667, 0.33333333]])
    """
    raise NotImplementedError("ex11_autoregressive_models: ngram_probabilities")


def log_likelihood(p, ids):
    """Score a text by the chain rule: add the logarithms of what an n-gram model says at each step.

    The first n − 1 tokens of the text are given, and not predicted. Texts are long, and the product
    of so many probabilities is 0 as a float: it must not be computed.

    Arguments:
        p: (V, ..., V) with n axes, as ngram_probabilities gives it; no entry is 0.
        ids: (L,) integers from 0 to V − 1, with L >= n.
    Returns: a tuple: log p of the predicted tokens given the first n − 1 (a natural logarithm, a
        number), and how many tokens were predicted, N (an integer).

    >>> total, N = log_likelihood(np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1, 1, 0]))
    >>> round(float(np.exp(total)), 6), N  # 0.5 · 0.75 · 0.25
    (0.09375, 3)
    """
    raise NotImplementedError("ex11_autoregressive_models: log_likelihood")


def perplexity(logits, ids, mask):
    """Give the perplexity of a batch of texts of different lengths, from a model's logits.

    It is exp of the mean of −log p over all N predicted tokens of all texts together. The logits at
    place i are about the token at place i + 1 (softmax makes them probabilities), so the first
    token of a text is not predicted, and the last logits predict nothing. Short texts are padded,
    some on the right, some on the left; a token counts if it and the one before it are real.

    Arguments:
        logits: (B, L, V) finite floats of any size: a p may be 0 as a float, its −log p is not
            infinite.
        ids: (B, L) integers from 0 to V − 1; those of padding mean nothing.
        mask: (B, L) bool, True where a token is real, False for padding. At least one counts.
    Returns: the perplexity, a number.

    ``np.logaddexp`` and ``np.logaddexp2`` would deal with the size; they are switched off here.

    >>> logits = np.log([[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.2, 0.2, 0.6]]])  # B 1, L 3, V 3
    >>> real = np.array([[True, True, True]])
    >>> round(float(perplexity(logits, np.array([[2, 1, 1]]), real)), 6)  # p: 0.25 and 0.1
    6.324555
    """
    raise NotImplementedError("ex11_autoregressive_models: perplexity")


def merge(ids, pair, new):
    """Put one new token in the place of every pair, from left to right.

    A token that has been used for one pair is not there for the next.

    Arguments:
        ids: a list of integers.
        pair: a tuple of two integers; they may be equal.
        new: the id of the joined token.
    Returns: a list of integers.

    >>> merge([7, 8, 9, 7, 8], (7, 8), 256)
    [256, 9, 256]
    >>> merge([5, 5, 5], (5, 5), 256)
    [256, 5]
    """
    raise NotImplementedError("ex11_autoregressive_models: merge")


def train_bpe(words, merges):
    """Train byte-pair encoding: join the most frequent pair of neighbours, again and again.

    A word starts as its bytes in UTF-8, with ids 0 to 255. Count the pairs of neighbours in all
    words; a pair counts as often as its word occurs, and pairs that overlap (as both in ``aaa``)
    count each. The pair with the highest count becomes a new token; among equals, the one with
    the smaller left id, then the smaller right id. The first new token is 256, the next 257, and
    so on. Then count anew, since the words have changed.

    Arguments:
        words: a dict, the number of times it occurs for each different word (a str).
        merges: how many pairs to join. A pair that occurs only once may be joined, too; when no
            word has two tokens any more, training ends earlier.
    Returns: a list of tuples (left id, right id) in the order of training; number k made the token
        256 + k.

    >>> train_bpe({"low": 3, "lot": 2}, merges=2)  # l is byte 108, o 111, w 119
    [(108, 111), (256, 119)]
    """
    raise NotImplementedError("ex11_autoregressive_models: train_bpe")


def encode(word, merges):
    """Encode a word that may be new: of the pairs that are there, join the one learned first.

    Start with the bytes. As long as there are neighbours that were joined in training, join those
    whose merge was learned earliest, wherever in the word they stand. Then look again.

    Arguments:
        word: a str.
        merges: a list of pairs, as train_bpe gives it: number k made the token 256 + k.
    Returns: a list of integers, the ids of the word's tokens.

    >>> encode("slow", [(108, 111), (256, 119)])  # s, then low
    [115, 257]
    """
    raise NotImplementedError("ex11_autoregressive_models: encode")
