"""Decoding with a model whose heads and words are cut: see ``tensor_parallel``."""

import numpy as np

from minigrad import backend, engine
from minigrad.nn.module import evaluating


class HeadCache:
    """Keys and values of this rank's heads: 2 · n_kv/P · H · l numbers a token.

    Arguments: part, a shard; batch, its rows of ids; max_length, for how many tokens there is room.
    """

    def __init__(self, part, batch, max_length):
        attention, like = part.blocks[0].attention, part.token_embedding.weight.data
        self.batch, self.layers, self.length = batch, part.config.n_layers, 0
        heads = (batch, attention.n_kv_heads, max_length, attention.d_head)
        self.kept = backend.array_module(like).empty((self.layers, 2, *heads), like.dtype)

    def update(self, layer, k, v):
        """Add (B, n_kv/P, new, H) each; gives those of all tokens so far."""
        end = self.length + k.shape[2]
        for kept, new in zip(self.kept[layer], (k, v)):
            kept[:, :, self.length : end] = engine.plain(new)
        if layer == self.layers - 1:
            self.length = end
        k, v = self.kept[layer, :, :, :, :end]
        return k, v


def greedy(part, ids, max_new_tokens, comm):
    """Continue prompts (B, L), alike on all ranks, by the likeliest tokens; (B, L + new) on each.

    Every token passes as in training; of the logits two numbers a row travel: each rank's best and
    where it is.
    """
    text = np.asarray(ids)
    if text.ndim != 2 or text.shape[1] < 1 or max_new_tokens < 0:
        raise ValueError(
            f"greedy: ids {text.shape} and {max_new_tokens} new tokens; expected (B, L), at least "
            "one token, and no negative number"
        )
    cache = HeadCache(part, len(text), text.shape[1] + max_new_tokens)
    new = text
    with evaluating(part):
        for _ in range(max_new_tokens):
            logits = engine.plain(part(new, cache=cache, last=True))[:, -1]  # (B, V/P)
            best = logits.argmax(axis=-1)[:, None]  # (B, 1)
            values = comm.all_gather(np.take_along_axis(logits, best, -1), 1)  # (B, P)
            words = comm.all_gather(best + comm.rank * logits.shape[1], 1)  # (B, P)
            winner = values.argmax(axis=-1)[:, None]  # the first of equals, as on one device
            new = backend.to_device(np.take_along_axis(words, winner, -1), "cpu")  # (B, 1)
            text = np.concatenate([text, new], axis=1)
    return text
