"""Exercise 12: the transformer block, first as drawn, then with its four repairs.

Notebook: 12_transformer_block.ipynb.

The notebook builds the block with the library. Here you write it yourself, from arrays and matrix
products alone, and end with the block of a GPT.

Letters: B texts in a batch, L tokens in each, D the width, n_h heads, H = D / n_h the width of one
head; ``...`` stands for any number of batch axes, also for none. Weights multiply from the right:
a row goes in, a row comes out. What the notebook's own block calls W["Q"], W["up"] and W["gain 1"]
is W["W_Q"], W["W_1"] and W["gamma_1"] here; and its ``attention`` takes x, yours q, k and v.
"""

import math

import numpy as np


def softmax(scores):
    """Turn every row of scores into weights that sum to 1: exp(s_j) / Σ_k exp(s_k).

    Scores may have any size. exp(1000) is too large for any float, and exp(−1000) is 0, but their
    weights are ordinary numbers, and asked for here. A score of −∞ gets a weight of exactly 0.

    Arguments:
        scores: (..., L) floats; a row is what lies along the last axis. At least one score of each
            row is finite, none is +∞ or NaN.
    Returns: (..., L), the weights, in the dtype of the scores.

    ``np.logaddexp`` and ``np.logaddexp2`` would deal with the size; they are switched off here.

    >>> softmax(np.array([0.0, math.log(3)]))
    array([0.25, 0.75])
    """
    raise NotImplementedError("ex12_transformer_block: softmax")


def causal_mask(Lq, Lk):
    """Say which keys each query may look at: those of its own token and of all tokens before it.

    The queries belong to the *last* Lq of Lk tokens. When a whole text is read, Lq = Lk. When a
    model writes, it asks only for the newest token, Lq = 1, and keeps the keys of the earlier ones.
    Either way the last query sees every key, and each query before it one key less.

    Arguments: Lq and Lk, how many queries and keys, integers with 1 <= Lq <= Lk.
    Returns: (Lq, Lk) bool: True in row i and column j where query i may look at key j.

    ``np.tri`` and its relatives would give the answer at once; they are switched off here.

    >>> causal_mask(2, 4)
    array([[ True,  True,  True, False],
           [ True,  True,  True,  True]])
    """
    raise NotImplementedError("ex12_transformer_block: causal_mask")


def attention(q, k, v, mask=None):
    """Mix the values of each head: softmax(q·kᵀ / √H)·v, every head for itself.

    Arguments:
        q: (..., n_h, Lq, H) the queries; ``...`` is usually (B,).
        k, v: (..., n_h, Lk, H) the keys and the values.
        mask: None, or (Lq, Lk) bool: where it is False, the score is set to −∞ before the softmax,
            in all heads of all texts.
    Returns: (..., n_h, Lq, H), in the dtype of q, k and v.
    """
    raise NotImplementedError("ex12_transformer_block: attention")


def split_heads(x, n_h):
    """Give each head its piece of every row: head 0 the first H numbers, head 1 the next H, ...

    Arguments:
        x: (..., L, D).
        n_h: how many heads, an integer that divides D.
    Returns: (..., n_h, L, H) with H = D / n_h.

    >>> split_heads(np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), 2)  # two rows, two heads
    array([[[1, 2],
            [5, 6]],
    <BLANKLINE>
           [[3, 4],
            [7, 8]]])
    """
    raise NotImplementedError("ex12_transformer_block: split_heads")


def merge_heads(y):
    """Lay the heads side by side again: the way back from ``split_heads``.

    Arguments: y (..., n_h, L, H).
    Returns: (..., L, D) with D = n_h · H: in each row first the H numbers of head 0, then those of
    head 1, and so on.
    """
    raise NotImplementedError("ex12_transformer_block: merge_heads")


def block(x, W, n_h, residual=False, norm=False, positions=False, mask=False):
    """One transformer block. With every switch off it is the lecture's, exactly as drawn:

        Q, K, V = x·W_Q, x·W_K, x·W_V        split into heads
        Y = softmax(Q·Kᵀ / √H)·V             the heads merged
        O = Y·W_O
        the block's output: ReLU(O·W_1)·W_2

    That is two layers, one after the other: attention (the first three lines) and the MLP (the
    last one). Each switch adds one repair; any of them may be on together:

        residual     a layer f adds to its input: x + f(x), instead of f(x)
        norm         a layer reads norm(x) instead of x, so with a residual: x + f(norm(x)); of each
                     row, norm(x) = (x − mean) / √(variance + 1e-5) · γ, with W["gamma_1"] before
                     attention and W["gamma_2"] before the MLP; the variance is the mean square
                     of x − mean
        positions    before everything else, row i of W["P"] is added to row i of each text
        mask         row i attends to rows up to i only

    In here ``norm`` and ``mask`` are True or False: call your own norm something else, such as
    layer_norm, and the mask that you make, m.

    Arguments:
        x: (..., L, D).
        W: a dict of arrays: "W_Q", "W_K", "W_V", "W_O" (D, D); "W_1" (D, 4D), "W_2" (4D, D);
            "gamma_1", "gamma_2" (D,); "P" with D columns and at least L rows. All are always
            there, also those of repairs that are off.
        n_h: how many heads, an integer that divides D.
        residual, norm, positions, mask: bool.
    Returns: (..., L, D).
    """
    raise NotImplementedError("ex12_transformer_block: block")
