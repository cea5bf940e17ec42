"""Exercise 16: prefill, decode, and the KV cache.

Notebook: 16_prefill_decode_kv_cache.ipynb.

You count what the two phases cost, write a cache that has its memory from the start, let one new
token and then several look at it, and end with the loop that every language model answers with.

Letters: B texts side by side, n_h query heads, n_kv heads of keys and values, H the width of a
head. ``new`` tokens of each text go in, after ``past`` ones that are in the cache already; so
``past`` is 0 in a prefill all at once, and ``new`` is 1 in a decode step.

A cache is written into, never glued: ``np.concatenate`` and its relatives (``np.append``,
``np.vstack`` and so on) are switched off in the whole exercise; ``np.stack`` is not.
"""

import math

import numpy as np


def linear_cost(B, new, d_in, d_out, itemsize):
    """Count the arithmetic and the bytes of Y = X·W, without computing it.

    X is (B, new, d_in), W is (d_in, d_out), Y is (B, new, d_out). A multiplication and an addition
    are 2 FLOP. Each number of X, W and Y is moved between memory and processor once, and takes
    itemsize bytes.

    Arguments: integers, all at least 1.
    Returns: (FLOPs, bytes), a tuple of two integers.

    >>> linear_cost(1, 1, 2, 3, 4)  # 2·3 products and their sums; 2 + 6 + 3 numbers
    (12, 44)
    """
    raise NotImplementedError("ex16_prefill_decode_kv_cache: linear_cost")


def attention_cost(B, new, past, n_h, n_kv, H, itemsize):
    """Count the arithmetic and the bytes of softmax(Q·Kᵀ / √H)·V, in one layer, with a cache.

    Q is (B, n_h, new, H). Keys and values are there for past and new tokens, in n_kv heads; n_h is
    a multiple of n_kv, and n_h / n_kv query heads share a head of keys and values. The result is
    (B, n_h, new, H).

    FLOPs: those of the two matrix products (2 for a multiplication and an addition), for every
    pair of a new token and a key, also for pairs that the mask hides. The softmax is not counted.
    Bytes: Q, K, V and the result, each moved once. The scores stay in the processor.

    Arguments: integers; past may be 0.
    Returns: (FLOPs, bytes), a tuple of two integers.
    """
    raise NotImplementedError("ex16_prefill_decode_kv_cache: attention_cost")


def fill_cache(pieces, max_length):
    """Set memory aside for max_length tokens, then write the keys of one piece after the other.

    The keys come in pieces, as a model makes them: those of a prompt first, then those of a token
    at a time, say. Each is written behind what is there already. No memory is asked for twice.

    Arguments:
        pieces: a list of arrays (B, n_kv, new, H), one or more. B, n_kv, H and the dtype are the
            same in all of them, new may differ.
        max_length: how many tokens there is room for, at least as many as there are.
    Returns: (cache, length): cache, (B, n_kv, max_length, H) in the dtype of the pieces, with zeros
        where no token has been written yet; length, an integer, how many tokens are in it.
    """
    raise NotImplementedError("ex16_prefill_decode_kv_cache: fill_cache")


def attend_one(q, keys, values, length):
    """Let the newest token look at all tokens in the cache: softmax(q·kᵀ / √H)·v, in each head.

    Its own key and value are in the cache already, as the last of ``length`` tokens. What lies
    behind them has not been written yet: it can be anything, also NaN, and must not matter.
    Scores are small enough here for exp.

    Arguments:
        q: (B, n_h, H), the query of one token of each text.
        keys, values: (B, n_h, max_length, H), the cache.
        length: how many tokens are in it, an integer, at least 1.
    Returns: (B, n_h, H), in the dtype of q.
    """
    raise NotImplementedError("ex16_prefill_decode_kv_cache: attend_one")


def attend_chunk(q, keys, values, length):
    """Let several new tokens look at the cache, each at itself and at what came before it.

    Keys and values of the new tokens are in the cache already, as the last ``new`` of ``length``
    tokens. So new token i (counted from 0) is token number length − new + i of its text, and sees
    keys up to that one. What lies behind ``length`` can be anything, as before.

    Scores may be of any size, also those that the mask hides: subtract from each row the largest
    score that it sees.

    Arguments:
        q: (B, n_h, new, H), 1 <= new <= length.
        keys, values: (B, n_h, max_length, H), the cache.
        length: how many tokens are in it, the new ones included, an integer.
    Returns: (B, n_h, new, H), in the dtype of q.
    """
    raise NotImplementedError("ex16_prefill_decode_kv_cache: attend_chunk")


def generate(step, prompt, n, room, stop):
    """Continue a prompt: prefill it in chunks, then decode a token at a time, always the likeliest.

    The model is a function, ``logits, cache = step(tokens, cache)``. It takes a list of new tokens
    (a list also if it is only one) and the cache that the call before returned, None at first. It
    returns the logits (V,) of what follows the last of these tokens, and the cache with them in it.

    The prompt goes in as chunks: the first ``room`` tokens, the next ``room``, and so on; the last
    chunk may be shorter. After it each token chosen goes in alone, but for the very last, or a stop
    token: nothing is left to ask. Each token goes in once, and other calls are refused.

    Arguments:
        step: the model, see above.
        prompt: a list of token ids, at least one.
        n: how many tokens to choose at most, an integer, at least 1.
        room: how many tokens a chunk of the prompt has, an integer, at least 1.
        stop: the id of the token that ends a text. Once it is chosen, no further token is.
    Returns: a list of the tokens chosen, Python integers; a stop token is the last of them. Of
        equally likely tokens take the first, as ``argmax`` does.
    """
    raise NotImplementedError("ex16_prefill_decode_kv_cache: generate")
