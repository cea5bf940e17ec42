"""The decoder-only transformer of the lectures, from the block as first drawn to GPT-2."""

from dataclasses import dataclass

import numpy as np

from minigrad import nn
from minigrad.models.decoder import Decoder
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

    @property
    def n_kv_heads(self):
        """How many heads keys and values have: as many as queries."""
        return self.n_heads

    @property
    def d_head(self):
        """The width of a head, H = D / n_h."""
        return self.d_model // self.n_heads

    @classmethod
    def lecture(cls, vocab_size, context_length, d_model, n_heads, n_layers, **changes):
        """The block exactly as the lecture draws it: attention and a ReLU MLP, nothing else.

        No mask, no positions, no norm, no residual. ``changes`` mends one thing at a time:
        ``GPTConfig.lecture(65, 64, 128, 4, 4, causal=True)``.
        """
        drawn = dict(activation="relu", norm=None, residual=False, causal=False, positions=None)
        return cls(vocab_size, context_length, d_model, n_heads, n_layers, **{**drawn, **changes})


class GPT(Decoder):
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
            self.initialise()

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

    def placed(self, x, positions, past):
        """Embeddings (B, L, D) plus those of their positions, then dropout."""
        if self.config.positions == "learned":
            table = self.position_embedding
            if positions is None:
                x = x + table.weight[past : past + x.shape[1]]  # (B, L, D) + (L, D)
            else:
                x = x + table(positions)
        return self.dropout(x), None
