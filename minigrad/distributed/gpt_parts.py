"""A GPT cut into parts that follow each other, for the stages of a pipeline."""

import numpy as np

import minigrad as mg
from minigrad import backend, nn
from minigrad.models import GPT


class GPTPart(nn.Module):
    """Some blocks of a GPT that follow each other; the first part has the embeddings too, the last
    one the norm and the head. Parameters keep the names that they have in the model.

    ``positions`` (L,) says where the tokens of all inputs stand, in place of 0 to L − 1.
    """

    positions = None

    def __init__(self, model, start, stop):
        self.config, self.start = model.config, start
        self.is_first, self.is_last = start == 0, stop == model.config.n_layers
        if self.is_first:
            self.token_embedding, self.dropout = model.token_embedding, model.dropout
            if model.config.positions == "learned":
                self.position_embedding = model.position_embedding
        self.blocks = nn.ModuleList()
        for i in range(start, stop):
            setattr(self.blocks, str(i), model.blocks[i])
        if self.is_last:
            self.norm = model.norm
            if model.config.tie_weights:
                self.token_embedding = model.token_embedding
            else:
                self.head = model.head

    def forward(self, x, cache=None):
        """Ids (B, L) in the first part, else activations (B, L, D), to activations (B, L, D), or
        logits (B, L, V) in the last part. ``cache``: {number of a block: (keys, values)} of the
        tokens before; those of these tokens are added."""
        if self.is_first:
            x = self._embedded(x, cache)  # (B, L) -> (B, L, D)
        for i, block in enumerate(self.blocks, self.start):
            x = block(x, remember=None if cache is None else _remembering(cache, i))
        if not self.is_last:
            return x
        x = self.norm(x)
        if self.config.tie_weights:
            return mg.linear(x, self.token_embedding.weight.T)  # (B, L, D) -> (B, L, V)
        return self.head(x)

    def _embedded(self, ids, cache):
        past = cache[0][0].shape[2] if cache else 0
        last = past + ids.shape[1] if self.positions is None else self.positions.max() + 1
        if last > self.config.context_length:
            raise ValueError(
                f"GPTPart: ids of shape {tuple(ids.shape)} after {past} tokens reach position "
                f"{last - 1}, and are longer than context_length = {self.config.context_length}"
            )
        x = self.token_embedding(ids)
        if self.config.positions == "learned":
            places = slice(past, past + ids.shape[1]) if self.positions is None else self.positions
            x = x + self.position_embedding.weight[places]  # (B, L, D) + (L, D)
        return self.dropout(x)

    def between(self, ids):
        """An empty array (B, L, D) for the activations of ids (B, L), as parts exchange them."""
        weight = self.parameters()[0].data
        shape = (*np.shape(ids), self.config.d_model)
        return backend.array_module(weight).empty(shape, weight.dtype)


def _remembering(cache, i):
    """What block i does with its keys and values (B, n_h, L, H): all of them so far."""

    def remember(k, v):
        if i in cache:
            k, v = (mg.concatenate([old, new], axis=2) for old, new in zip(cache[i], (k, v)))
        cache[i] = k, v
        return k, v

    return remember


def cut(model, parts):
    """The model as a list of so many parts with equally many blocks, which share its parameters.

    Tied weights are in the first part and in the last; Pipeline adds up their gradients.
    Raises TypeError for what is no GPT, ValueError where ``parts`` does not divide its layers.
    """
    if not isinstance(model, GPT):
        raise TypeError(f"cut: expected a GPT, got {type(model).__name__}")
    layers = model.config.n_layers
    if parts < 1 or layers % parts:
        raise ValueError(f"cut: {layers} layers do not divide into {parts} equal parts")
    each = layers // parts
    return [GPTPart(model, i, i + each) for i in range(0, layers, each)]
