"""Exercise 12: the transformer block: as drawn, with its four repairs, and as Llama has it.

Notebook: 12_transformer_block.ipynb.

The notebook builds the block with the library. Here you write it yourself, from arrays and matrix
products alone: first the block of a GPT (softmax, causal_mask, attention, block), then the one of
today's models (rms_norm, rotary, swiglu, modern_block).

Letters: B texts in a batch, L tokens in each, D the width, n_h heads, H = D / n_h the width of one
head, n_kv heads of keys and values; ``...`` stands for any number of batch axes, also for none.
Weights multiply from the right: a row goes in, a row comes out.

Names: what the notebook calls W["Q"] and W["gain 1"] is W["W_Q"] and W["gamma_1"] here. "up" and
"down" of its first block are W["W_1"] and W["W_2"]; "gate", "up" and "down" of the modern one are
W["W_gate"], W["W_up"] and W["W_down"]. Its ``attention`` takes x, yours q, k and v; its ``attend``
masks by itself, yours looks at every key unless it is given a mask.

The notebook shows rms_norm and swiglu in full: close it, and write them anew from their formulas.
It turns one arrow, and leaves whole heads and the modern block to you.
"""

import math

import numpy as np


def split_heads(x, n):
    """Given: cut every row into n pieces, one for each head; (..., L, n · H) -> (..., n, L, H)."""
    pieces = x.reshape(*x.shape[:-1], n, x.shape[-1] // n)  # (..., L, n, H)
    return pieces.swapaxes(-2, -3)


def merge_heads(y):
    """Given: the way back, heads side by side again; (..., n, L, H) -> (..., L, n · H)."""
    pieces = y.swapaxes(-2, -3)  # (..., L, n, H)
    return pieces.reshape(*pieces.shape[:-2], -1)


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
    """Mix the values of each head: softmax(q·kᵀ / √H)·v.

    As a rule n_kv = n_h, and every head has keys and values of its own. There may be fewer: then
    n_h / n_kv neighbours ask the same keys and get the same values (grouped-query attention). Of
    six heads with n_kv = 2, heads 0, 1 and 2 share the first keys and values, 3, 4 and 5 the
    second. Write it for n_kv = n_h first; the last test is about sharing.

    Arguments:
        q: (..., n_h, Lq, H) the queries; ``...`` is usually (B,).
        k, v: (..., n_kv, Lk, H) the keys and the values; n_kv divides n_h.
        mask: None, or (Lq, Lk) bool: where it is False, the score is set to −∞ before the softmax,
            in all heads of all texts.
    Returns: (..., n_h, Lq, H), in the dtype of q, k and v.
    """
    raise NotImplementedError("ex12_transformer_block: attention")


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


def rms_norm(x, gamma, epsilon=1e-5):
    """Bring every row to size 1: x / √(mean of x² + ε) · γ. The mean is not subtracted.

    Arguments:
        x: (..., D) floats; a row is what lies along the last axis.
        gamma: (D,), the gain of each of its numbers.
        epsilon: a small number, so that a row of zeros is not divided by 0.
    Returns: (..., D), in the dtype of x and gamma.

    >>> rms_norm(np.array([1.0, 7.0]), np.array([10.0, 1.0]), epsilon=0.0)  # √((1 + 49) / 2) is 5
    array([2. , 1.4])
    """
    raise NotImplementedError("ex12_transformer_block: rms_norm")


def rotary(x, positions, base=10_000.0):
    """Turn every row by its position, so that scores q·k depend on distances alone (RoPE).

    A row of H numbers is H/2 arrows: arrow m is (x[m], x[m + H/2]), for m from 0 to H/2 − 1. At
    position p it is turned by the angle p · base^(−2m/H), in radians: the arrow (a, b) becomes

        (a·cos − b·sin,  b·cos + a·sin)

    Arguments:
        x: (..., L, H) floats, the queries or the keys of one head or of many; H is even.
        positions: (L,) integers, where in the text each of the L rows stands; they need not begin
            with 0, nor follow one another.
        base: how slow the slowest arrows are.
    Returns: (..., L, H), in the dtype of x.

    >>> x = np.array([[1.0, 0.0], [1.0, 0.0]])  # one arrow (1, 0), twice
    >>> rotary(x, np.array([0, 3])).round(2)  # after 3 radians it points nearly backwards
    array([[ 1.  ,  0.  ],
           [-0.99,  0.14]])
    """
    raise NotImplementedError("ex12_transformer_block: rotary")


def swiglu(h, W_gate, W_up, W_down):
    """The gated MLP: (SiLU(h·W_gate) ∘ h·W_up)·W_down, where SiLU(u) = u / (1 + exp(−u)).

    ∘ multiplies number by number: one product says how far each hidden unit is open, the other
    says what would pass.

    Arguments: h (..., D); W_gate and W_up (D, M), W_down (M, D).
    Returns: (..., D), in the dtype of the arguments.
    """
    raise NotImplementedError("ex12_transformer_block: swiglu")


def modern_block(x, W, n_h, n_kv):
    """The block of Llama: the plan of ``block`` with all its repairs, and four parts exchanged.

        x = x + attention(rms_norm(x))       with W["gamma_1"]
        x = x + swiglu(rms_norm(x))          with W["gamma_2"]

    Attention is as in ``block``, with two differences: queries and keys, not values, are turned by
    ``rotary`` at the positions 0 to L − 1, head by head (no table P is added); and keys and values
    have n_kv heads. Row i attends to rows up to i only. There are no switches.

    Arguments:
        x: (..., L, D).
        W: a dict of arrays: "W_Q" and "W_O" (D, D); "W_K" and "W_V" (D, n_kv · H); "W_gate" and
            "W_up" (D, M), "W_down" (M, D); "gamma_1" and "gamma_2" (D,).
        n_h, n_kv: how many heads; n_kv divides n_h, n_h divides D, and H = D / n_h is even.
    Returns: (..., L, D).
    """
    raise NotImplementedError("ex12_transformer_block: modern_block")
