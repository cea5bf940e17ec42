"""Exercise 17: smaller caches, from heads that share to one latent for all of them.

Notebook: 17_smaller_caches.ipynb.

First you count what each design remembers, and how long a text fits. Then you take heads away from
a model, let the rest be shared, and end with latent attention both ways: by making keys and values
from the latent, and by never making them at all.

Letters: B texts in a batch, L new tokens, T tokens in all (the new ones are the last L of them),
D the width, l the layers, n_h query heads, n_kv heads of keys and values, H the width of a head,
d_c the latent's width, d_R the width of the key part that is turned by its position.
"""

import math

import numpy as np


def causal_softmax(scores):
    """Weights (..., L, T) of scores (..., L, T): every row sums to 1, and later tokens get 0.

    Given: you wrote it in exercise 12. The L queries are those of the last L of T tokens.
    """
    L, T = scores.shape[-2:]
    seen = np.arange(T) <= np.arange(T - L, T)[:, None]  # (L, T)
    scores = np.where(seen, scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def elements_per_token(config):
    """Count the numbers that a cache keeps for each token, in all layers together.

    MHA, GQA and MQA keep keys and values, of as many heads as they have of them: n_h, n_kv, one.
    MLA keeps one latent and one turned key part, whatever the number of heads.

    Arguments:
        config: a dict: "design", one of "MHA", "GQA", "MQA", "MLA"; "l", "n_h", "n_kv", "H", "d_c",
            "d_R", integers. All keys are always there, also those that a design has no use for.
    Returns: how many, an integer.

    >>> config = dict(design="GQA", l=30, n_h=9, n_kv=3, H=64, d_c=256, d_R=32)  # as SmolLM2
    >>> elements_per_token(config)
    11520
    """
    ### BEGIN SOLUTION
    if config["design"] == "MLA":
        return (config["d_c"] + config["d_R"]) * config["l"]
    heads = {"MHA": config["n_h"], "GQA": config["n_kv"], "MQA": 1}[config["design"]]
    return 2 * heads * config["H"] * config["l"]
    ### END SOLUTION


def longest_context(config, memory, weights, batch, itemsize):
    """Say how many tokens each text may have before the memory is full.

    The memory holds the weights and, for each of the ``batch`` texts, a cache of that many tokens.

    Arguments:
        config: as in ``elements_per_token``.
        memory, weights: bytes of the whole memory, and of the model's weights; integers.
        batch: how many texts at once, an integer.
        itemsize: bytes of one number in the cache, an integer (2 for float16).
    Returns: the largest number of whole tokens, an integer; 0 if not even one fits, or not even the
        weights do.

    >>> config = dict(design="MQA", l=10, n_h=4, n_kv=2, H=5, d_c=20, d_R=2)  # 100 numbers a token
    >>> longest_context(config, memory=9_999, weights=1_000, batch=4, itemsize=2)
    11
    """
    ### BEGIN SOLUTION
    one_token_each = batch * itemsize * elements_per_token(config)
    return max((memory - weights) // one_token_each, 0)
    ### END SOLUTION


def pool_heads(W, n_h, n_kv):
    """Turn the key (or value) weights of n_h heads into those of n_kv heads, by averaging.

    So a trained model with MHA becomes one with GQA or MQA, which then needs only a little more
    training (Ainslie et al., 2023). Neighbouring heads form a group: of 6 heads and n_kv = 2, heads
    0, 1, 2 become the new head 0, and heads 3, 4, 5 the new head 1. Entry by entry, the new head is
    the mean of its group.

    Arguments:
        W: (D, n_h · H), W_K or W_V: the first H columns belong to head 0, the next H to head 1, ...
        n_h, n_kv: how many heads there are, and are to be; n_kv divides n_h.
    Returns: (D, n_kv · H), in the dtype of W.

    >>> pool_heads(np.array([[1.0, 2.0, 5.0, 6.0]]), 2, 1)  # D = 1, two heads of width 2
    array([[3., 4.]])
    """
    ### BEGIN SOLUTION
    D = len(W)
    groups = W.reshape(D, n_kv, n_h // n_kv, -1)  # (D, n_h·H) -> (D, n_kv, n_h / n_kv, H)
    return groups.mean(axis=2).reshape(D, -1)  # (D, n_kv, H) -> (D, n_kv·H)
    ### END SOLUTION


def grouped_attention(q, k, v):
    """Let groups of query heads share a key and a value head: softmax(q·kᵀ / √H)·v, causal.

    n_h / n_kv neighbouring query heads form a group: of n_h = 6 and n_kv = 2, query heads 0, 1, 2
    read head 0 of k and v, and query heads 3, 4, 5 read head 1. With n_kv = n_h this is MHA, with
    n_kv = 1 it is MQA. The cache was made small so that less is read; so k and v are not to be
    copied for each query head. Give q one axis more instead: @ repeats along an axis of length 1 by
    itself. ``np.repeat`` and ``np.tile`` are switched off here; other ways to copy, such as picking
    heads by an array of indices, pass the tests and miss the point.

    Arguments:
        q: (B, n_h, L, H), the queries of the last L of T tokens.
        k, v: (B, n_kv, T, H); n_kv divides n_h.
    Returns: (B, n_h, L, H), in the dtype of q, k and v. No query sees a later token.
    """
    ### BEGIN SOLUTION
    B, n_h, L, H = q.shape
    n_kv = k.shape[1]
    q = q.reshape(B, n_kv, n_h // n_kv, L, H)
    k, v = k[:, :, None], v[:, :, None]  # (B, n_kv, 1, T, H): one for its whole group
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(H)  # (B, n_kv, n_h / n_kv, L, T)
    return (causal_softmax(scores) @ v).reshape(B, n_h, L, H)
    ### END SOLUTION


def latent_attention(q, q_R, cache, W_UK, W_UV):
    """Attend by keys and values that are made from the latent: MLA as it is written down.

    For each token the cache holds one row, [c ; k_R], for all heads. Head i makes of it

        its key    [c·W_UK[i] ; k_R]   of width H + d_R, to be met by the query [q ; q_R]
        its value  c·W_UV[i]           of width H

    and then it is attention as ever, causal, with scores divided by the root of the keys' width.

    Arguments:
        q: (B, n_h, L, H); q_R: (B, n_h, L, d_R), already turned by its position.
        cache: (B, T, d_c + d_R): c first, then k_R, already turned.
        W_UK, W_UV: (n_h, d_c, H), a matrix for each head.
    Returns: (B, n_h, L, H), in the dtype of the arguments.
    """
    ### BEGIN SOLUTION
    _, d_c, H = W_UK.shape
    c, k_R = cache[:, None, :, :d_c], cache[:, None, :, d_c:]  # (B, 1, T, d_c), (B, 1, T, d_R)
    k, v = c @ W_UK, c @ W_UV  # (B, 1, T, d_c) @ (n_h, d_c, H) -> (B, n_h, T, H)
    scores = q @ k.swapaxes(-1, -2) + q_R @ k_R.swapaxes(-1, -2)  # (B, n_h, L, T)
    return causal_softmax(scores / math.sqrt(H + q_R.shape[-1])) @ v
    ### END SOLUTION


def absorbed_attention(q, q_R, cache, W_UK, W_UV):
    """Attend to the cache as it is, without making a key or a value: MLA as it runs.

    q · (c·W_UK[i]) = (q·W_UK[i]ᵀ) · c. So W_UK moves over to the query, which becomes d_c + d_R
    wide, and meets the rows of the cache themselves. The weights then mix latents instead of
    values, and W_UV comes last, once for each query instead of once for each token. The weights are
    to be the same as in ``latent_attention``, and so is the output.

    Arguments: as in ``latent_attention``.
    Returns: a tuple of three arrays:
        the queries that meet the rows of the cache, (B, n_h, L, d_c + d_R), not yet divided;
        the mixed latents, (B, n_h, L, d_c);
        the output, (B, n_h, L, H).
    """
    ### BEGIN SOLUTION
    _, d_c, H = W_UK.shape
    rows = cache[:, None]  # (B, 1, T, d_c + d_R): one head of keys, for all
    queries = np.concatenate([q @ W_UK.swapaxes(-1, -2), q_R], axis=-1)
    scores = queries @ rows.swapaxes(-1, -2) / math.sqrt(H + q_R.shape[-1])
    mixed = causal_softmax(scores) @ rows[..., :d_c]  # (B, n_h, L, T) @ (B, 1, T, d_c)
    return queries, mixed, mixed @ W_UV
    ### END SOLUTION
