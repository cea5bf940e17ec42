"""The decoder-only transformer of the lectures, from the block as first drawn to GPT-2."""

import math
from dataclasses import dataclass

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.nn.attention import NORMS, make_norm
from minigrad.nn.layers import ACTIVATIONS, one_of


@dataclass(frozen=True)
class GPTConfig:
    """The sizes and the wiring of a GPT.

    vocab_size V, context_length (the longest L), d_model D, n_heads n_h (each D/n_h wide) and
    n_layers l; the other settings name what one may leave out or exchange. Raises ValueError or
    TypeError for settings that make no model.
    """

    vocab_size: int
    context_length: int
    d_model: int
    n_heads: int
    n_layers: int
    activation: str = "gelu"
    norm: str | None = "layernorm"
    norm_first: bool = True
    residual: bool = True
    causal: bool = True
    positions: str | None = "learned"
    bias: bool = False
    tie_weights: bool = False
    dropout: float = 0.0

    def __post_init__(self):
        for name in ("vocab_size", "context_length", "d_model", "n_heads", "n_layers"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f"GPTConfig: {name} must be an integer, got {value!r}")
            if value < 1:
                raise ValueError(f"GPTConfig: {name} must be at least 1, got {value}")
            object.__setattr__(self, name, int(value))  # NumPy's integers would not fit into JSON
        if self.d_model % self.n_heads:
            raise ValueError(
                f"GPTConfig: d_model {self.d_model} is not divisible by n_heads {self.n_heads}"
            )
        for name in ("norm_first", "residual", "causal", "bias", "tie_weights"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(
                    f"GPTConfig: {name} must be True or False, got {getattr(self, name)!r}"
                )
        one_of("GPTConfig", "activation", self.activation, ACTIVATIONS)
        one_of("GPTConfig", "norm", self.norm, NORMS)
        one_of("GPTConfig", "positions", self.positions, ("learned", None))
        if not 0 <= self.dropout < 1:
            raise ValueError(f"GPTConfig: dropout must be in [0, 1), got {self.dropout}")

    @classmethod
    def lecture(cls, vocab_size, context_length, d_model, n_heads, n_layers, **changes):
        """The block exactly as the lecture draws it: attention and a ReLU MLP, nothing else.

        No mask, no positions, no norm, no residual. ``changes`` mends one thing at a time:
        ``GPTConfig.lecture(65, 64, 128, 4, 4, causal=True)``.
        """
        drawn = dict(activation="relu", norm=None, residual=False, causal=False, positions=None)
        return cls(vocab_size, context_length, d_model, n_heads, n_layers, **{**drawn, **changes})


class GPT(nn.Module):
    """A GPT: integer ids (B, L) to logits (B, L, V), one row of V for each next token.

    Weights start as in GPT-2: normal with standard deviation 0.02, those that write into the
    residual stream by √(2·l) smaller, since 2·l of them add up there; biases 0, norm gains 1.

    Arguments: config, a GPTConfig; seed, an integer for the initial weights, or None to draw
    them from the generator that ``mg.manual_seed`` seeds.
    """

    def __init__(self, config, seed=None):
        if not isinstance(config, GPTConfig):
            raise TypeError(f"GPT: expected a GPTConfig, got {type(config).__name__}")
        c = self.config = config
        with nn.init.seeded(seed):
            self.token_embedding = nn.Embedding(c.vocab_size, c.d_model)
            if c.positions == "learned":
                self.position_embedding = nn.Embedding(c.context_length, c.d_model)
            self.dropout = nn.Dropout(c.dropout)
            self.blocks = nn.ModuleList(self._block() for _ in range(c.n_layers))
            self.norm = make_norm(c.norm if c.norm_first else None, c.d_model, c.bias)
            if not c.tie_weights:
                self.head = nn.Linear(c.d_model, c.vocab_size, bias=False)
            self._initialise()

    def _block(self):
        c = self.config
        return nn.TransformerBlock(
            c.d_model,
            c.n_heads,
            activation=c.activation,
            norm=c.norm,
            norm_first=c.norm_first,
            residual=c.residual,
            causal=c.causal,
            bias=c.bias,
            dropout=c.dropout,
        )

    def _initialise(self):
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                continue
            into_residual = name.endswith(("attention.output.weight", "mlp.down.weight"))
            std = 0.02 / math.sqrt(2 * self.config.n_layers) if into_residual else 0.02
            parameter.data[...] = nn.init.normal(parameter.shape, std)

    def forward(self, ids):
        """Logits (B, L, V) of ids (B, L), integers in [0, V) with L at most context_length.

        Raises TypeError for ids that are not integers, ValueError for another rank, for L = 0 or
        too long a sequence, and IndexError for ids outside the vocabulary.
        """
        ids = self._checked(ids)
        L = ids.shape[1]
        x = self.token_embedding(ids)  # (B, L) -> (B, L, D)
        if self.config.positions == "learned":
            x = x + self.position_embedding.weight[:L]  # (B, L, D) + (L, D)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)  # (B, L, D)
        x = self.norm(x)
        if self.config.tie_weights:
            return x @ self.token_embedding.weight.T  # (B, L, D) @ (D, V) -> (B, L, V)
        return self.head(x)  # (B, L, D) -> (B, L, V)

    def _checked(self, ids):
        c = self.config
        ids = ids.data if isinstance(ids, mg.Tensor) else ids
        ids = ids if mg.backend.is_array(ids) else np.asarray(ids)
        if ids.dtype.kind not in "iu":
            raise TypeError(f"GPT: ids must be integers, got dtype {ids.dtype}")
        if ids.ndim != 2:
            raise ValueError(f"GPT: ids must have shape (B, L), got {ids.shape}")
        if not 1 <= ids.shape[1] <= c.context_length:
            raise ValueError(
                f"GPT: ids of shape {ids.shape} are {ids.shape[1]} tokens long, expected 1 to "
                f"context_length = {c.context_length}"
            )
        if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < c.vocab_size:
            raise IndexError(
                f"GPT: ids run from {ids.min()} to {ids.max()}, expected 0 to {c.vocab_size - 1} "
                f"(vocab_size {c.vocab_size})"
            )
        return mg.backend.to_device(ids, self.token_embedding.weight.device)

    def extra_repr(self):
        c = self.config
        return f"{self.num_parameters:,} parameters, context {c.context_length}"
