"""What every decoder-only transformer here shares: its inputs, its path, and its head."""

import math
from functools import partial

import numpy as np

import minigrad as mg
from minigrad import nn


class Decoder(nn.Module):
    """Integer ids (B, L) to logits (B, L, V), one row of V for each next token.

    A subclass owns ``config`` (vocab_size, context_length, tie_weights), ``token_embedding``,
    ``blocks``, ``norm``, and ``head`` unless weights are tied; ``placed`` tells its blocks where
    tokens stand.
    """

    def forward(self, ids, cache=None, positions=None, mask=None, last=False):
        """Logits (B, L, V) of ids (B, L), integers in [0, V).

        Arguments: cache, of ``minigrad.inference``, with what came before: ids are then the new
        tokens alone, what later tokens need of them is added to the cache, and nothing is recorded
        for derivatives; positions, integers (L,) or (B, L), counted from the first token (or
        from the first that the mask lets through) unless given; mask (B, T), bool, over all
        T tokens so far and new, False for padding, which no token attends to; last=True, to get
        the logits of the last position alone, (B, 1, V).

        Raises TypeError for ids that are not integers, IndexError for ids outside the vocabulary,
        and ValueError for other shapes, for L = 0, and for more tokens than context_length or the
        cache can hold.
        """
        if cache is None:
            return self._logits(ids, None, positions, mask, last)
        with mg.no_grad():
            return self._logits(ids, cache, positions, mask, last)

    def _logits(self, ids, cache, positions, mask, last):
        past = 0
        if cache is not None:
            if not self.causal:
                self._refuse("without a causal mask, later tokens change what a cache holds")
            past = cache.length
        ids = self._checked(ids, past, cache)
        mask = self._checked_mask(mask, ids, past)
        positions = self._positions(positions, mask, ids, past)
        x, rotary = self.placed(self.token_embedding(ids), positions, past)  # (B, L) -> (B, L, D)
        hidden = None if mask is None else mask[:, None, None, :]  # (B, T) -> (B, 1, 1, T)
        for i, block in enumerate(self.blocks):
            remember = None if cache is None else partial(cache.update, i)
            x = block(x, hidden, rotary, remember)  # (B, L, D)
        x = self.norm(x[:, -1:] if last else x)
        if self.config.tie_weights:
            return mg.linear(x, self.token_embedding.weight.T)  # (B, L, D) @ (D, V) -> (B, L, V)
        return self.head(x)  # (B, L, D) -> (B, L, V)

    def placed(self, x, positions, past):
        """(x, rotary): embeddings (B, L, D) with their places added, or the tables of rotary
        positions for the blocks. ``positions`` are those of ``forward``, or None for past, past + 1
        and so on."""
        raise NotImplementedError(f"{type(self).__name__} has no placed method")

    def initialise(self):
        """Draw the matrices anew as in GPT-2: normal with standard deviation 0.02, and smaller by
        √(2·l) where they write into the residual stream, since 2·l of them add up there."""
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2 or nn.init.is_skipped():
                continue
            into_residual = name.endswith(("attention.output.weight", "mlp.down.weight"))
            std = 0.02 / math.sqrt(2 * self.config.n_layers) if into_residual else 0.02
            parameter.data[...] = nn.init.normal(parameter.shape, std)

    @property
    def causal(self):
        """Whether no token sees those after it, as a cache needs."""
        return getattr(self.config, "causal", True)

    def _refuse(self, what):
        raise ValueError(f"{type(self).__name__}: {what}")

    def _checked(self, ids, past, cache):
        name, c = type(self).__name__, self.config
        ids = ids.data if isinstance(ids, mg.Tensor) else ids
        ids = ids if mg.backend.is_array(ids) else np.asarray(ids)
        if ids.dtype.kind not in "iu":
            raise TypeError(f"{name}: ids must be integers, got dtype {ids.dtype}")
        if ids.ndim != 2:
            self._refuse(f"ids must have shape (B, L), got {ids.shape}")
        if not 1 <= ids.shape[1] <= c.context_length - past:
            after = f" after {past} in the cache" if past else ""
            self._refuse(
                f"ids of shape {ids.shape} are {ids.shape[1]} tokens long{after}, expected 1 to "
                f"context_length = {c.context_length} in all"
            )
        if cache is not None and ids.shape[0] != cache.batch:
            self._refuse(f"ids of shape {ids.shape} for a cache of batch {cache.batch}")
        if cache is not None and cache.layers != c.n_layers:
            self._refuse(f"a cache of {cache.layers} layers for a model of {c.n_layers}")
        if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < c.vocab_size:
            raise IndexError(
                f"{name}: ids run from {ids.min()} to {ids.max()}, expected 0 to "
                f"{c.vocab_size - 1} (vocab_size {c.vocab_size})"
            )
        return mg.backend.to_device(ids, self.token_embedding.weight.device)

    def _checked_mask(self, mask, ids, past):
        if mask is None:
            return None
        mask = mask.data if isinstance(mask, mg.Tensor) else np.asarray(mask)
        want = (ids.shape[0], past + ids.shape[1])
        if mask.dtype != bool or mask.shape != want:
            self._refuse(
                f"mask is {mask.dtype} {mask.shape}, expected bool {want}, True for tokens"
            )
        return None if mask.all() else mg.backend.beside(mask, ids)

    def _positions(self, positions, mask, ids, past):
        if positions is None:
            if mask is None:
                return None
            return np.maximum(np.cumsum(mask, axis=1)[:, past:] - 1, 0)
        positions = positions.data if isinstance(positions, mg.Tensor) else np.asarray(positions)
        if positions.dtype.kind not in "iu" or positions.shape not in (ids.shape, ids.shape[1:]):
            self._refuse(
                f"positions are {positions.dtype} {positions.shape}, expected integers "
                f"{ids.shape[1:]} or {ids.shape}"
            )
        if not 0 <= positions.min() <= positions.max() < self.config.context_length:
            self._refuse(
                f"positions run from {positions.min()} to {positions.max()}, expected 0 to "
                f"{self.config.context_length - 1}"
            )
        return mg.backend.beside(positions, ids)

    def extra_repr(self):
        return f"{self.num_parameters:,} parameters, context {self.config.context_length}"
