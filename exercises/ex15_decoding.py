"""Exercise 15: decoding, from logits to a token, and from tokens to the best text.

Notebook: 15_decoding.ipynb.

A language model gives logits, one for each token of its vocabulary. The first four functions make
one token of them: a distribution, two ways to cut off its tail, and a draw. The last two look for
a whole text that is likely: one step of beam search, then all of it.

Letters: V is the size of the vocabulary, p a probability, log the natural logarithm; ``...`` stands
for any number of axes, also for none. A logit of −∞ belongs to a token that cannot come next.
"""

import numpy as np


def distribution(logits, temperature):
    """Turn logits into probabilities: p_i = exp(z_i / T) / Σ_j exp(z_j / T), T the temperature.

    Logits may have any size: exp(1000) is too large for any float, but its p is an ordinary number,
    and asked for here. A logit of −∞ gets a probability of exactly 0.

    Arguments:
        logits: (..., V) floats, the z; a row is what lies along the last axis. At least one logit
            of each row is finite, none is +∞ or NaN.
        temperature: a number above 0.
    Returns: (..., V), the probabilities, in the dtype of the logits; each row sums to 1.

    ``np.logaddexp`` and ``np.logaddexp2`` would deal with the size; they are switched off here.

    >>> z = np.log([1.0, 4.0])  # 1 to 4 at temperature 1, 1 to 2 at temperature 2
    >>> distribution(z, 1.0).round(6), distribution(z, 2.0).round(6)
    (array([0.2, 0.8]), array([0.333333, 0.666667]))
    """
    raise NotImplementedError("ex15_decoding: distribution")


def top_k(logits, k):
    """Keep the k largest logits of each row and set all others to −∞.

    Of equal logits the one with the lower index comes first, so that exactly k are kept. (Logits
    that were −∞ before stay −∞, kept or not.)

    Arguments:
        logits: (..., V) floats; a row is what lies along the last axis.
        k: an integer from 1 to V.
    Returns: (..., V) in the dtype of the logits.

    >>> top_k(np.array([2.0, 5.0, 1.0, 5.0, 2.0]), 3)
    array([  2.,   5., -inf,   5., -inf])
    """
    raise NotImplementedError("ex15_decoding: top_k")


def top_p(logits, p):
    """Keep the smallest set of likeliest tokens whose probabilities sum to at least p.

    Probabilities are those of ``distribution(logits, 1)``. Tokens are taken in, the likeliest
    first, until their mass is p or more; the logits of all others become −∞. At least one token
    always stays. Of equal logits the one with the lower index comes first.

    Arguments:
        logits: (..., V) floats; a row is what lies along the last axis.
        p: a number with 0 < p < 1.
    Returns: (..., V) in the dtype of the logits.

    >>> top_p(np.log([0.1, 0.6, 0.25, 0.05]), 0.8).round(2)  # 0.6 is too little, 0.85 is enough
    array([ -inf, -0.51, -1.39,  -inf])
    """
    raise NotImplementedError("ex15_decoding: top_p")


def draw(probabilities, u):
    """Draw a token from each row: turn a number u between 0 and 1 into a token id.

    Lay the tokens along a line from 0 to 1, in the order of their ids, each as wide as it is
    likely: token 0 from 0 to p_0, token 1 from p_0 to p_0 + p_1, and so on. The answer is the token
    on which u falls; where two meet, the one that begins there. So if u is uniform, token i comes
    with probability p_i.

    Floats do not sum to 1 exactly: the line may end a little before or behind 1. Every u must fall
    on a token nevertheless, and never on one whose probability is 0.

    Arguments:
        probabilities: (..., V) floats, not negative; each row sums to 1 but for rounding.
        u: (...) floats with 0 <= u < 1, one for each row.
    Returns: (...) int64, the token ids.

    >>> draw(np.array([[0.25, 0.5, 0.25], [0.0, 0.1, 0.9]]), np.array([0.7, 0.0]))
    array([1, 1])
    """
    raise NotImplementedError("ex15_decoding: draw")


def beam_step(scores, log_p, n_beams):
    """One step of beam search: the best continuations of all beams, by one more token.

    A continuation of beam i by token j has the score scores[i] + log_p[i, j], the log probability
    of the whole text. The best n_beams of all b · V continuations are chosen, whichever beams they
    come from: one beam may go on several times, another not at all. A continuation with a score of
    −∞ is impossible and never chosen, so there may be fewer than n_beams.

    Arguments:
        scores: (b,) finite floats, the log probability of each beam's text so far.
        log_p: (b, V), the log probability of each token after each of these texts.
        n_beams: an integer, 1 or more.
    Returns: a tuple of three arrays (n,), the highest score first: the rows that the chosen ones
    continue (int64, 0 to b − 1), their new tokens (int64, 0 to V − 1), and their scores (floats).
    Of equal scores, the lower row comes first, then the lower token.

    >>> beam_step(np.array([-1.0, -2.0]), np.array([[-3.0, -1.0], [-0.5, -9.0]]), n_beams=2)
    (array([0, 1]), array([1, 0]), array([-2. , -2.5]))
    """
    raise NotImplementedError("ex15_decoding: beam_step")


def beam_search(table, start, stop, n_beams, max_new_tokens, length_penalty):
    """Find a likely text of a model whose next token depends on the last one only.

    Begin with one beam, the text of the token ``start`` alone, with a score of 0. Then, up to
    max_new_tokens times, take one ``beam_step``. A continuation that ends in ``stop`` is complete:
    it is set aside and does not go on. The others are the beams of the next step. (So a step
    chooses n_beams continuations, complete ones included, and the next one may begin with fewer
    beams.) The search ends early when no beam is left; beams that are left after the last step
    count as complete.

    Of all complete texts the best is the one with the highest score / n ** length_penalty, where n
    is the number of its new tokens: ``stop`` counts, ``start`` does not.

    Arguments:
        table: (V, V) floats, table[i, j] the log probability of token j after token i; some
            may be −∞, but never all of a row.
        start, stop: two different token ids.
        n_beams, max_new_tokens: integers, 1 or more.
        length_penalty: a number, 0 or more.
    Returns: a tuple of the new tokens of the best text, a list of integers without ``start``, and
    its score / n ** length_penalty, a float.

    >>> table = np.log([[0.1, 0.5, 0.4], [0.3, 0.3, 0.4], [0.2, 0.2, 0.6]])  # V = 3, token 2 stops
    >>> tokens, score = beam_search(table, 0, 2, n_beams=2, max_new_tokens=2, length_penalty=0.0)
    >>> tokens, round(float(np.exp(score)), 6)  # 0.4, where [1, 2] has 0.5 · 0.4
    ([2], 0.4)
    """
    raise NotImplementedError("ex15_decoding: beam_search")
