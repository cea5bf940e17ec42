"""The modern decoder: RMSNorm, rotary positions, a gated MLP, and shared or latent keys."""

import math
from dataclasses import dataclass

import numpy as np

from minigrad import backend, nn
from minigrad.models import straight
from minigrad.models.decoder import Decoder


@dataclass(frozen=True)
class LlamaConfig:
    """The sizes and the wiring of a Llama or of one of its kin (SmolLM2, Qwen2).

    vocab_size V, context_length (the longest L), d_model D, n_heads n_h, n_layers l, d_hidden (of
    the MLP); n_kv_heads, how many heads keys and values have, n_h unless given; d_head H, D/n_h
    unless given; rope_base, of the angles; norm_eps; tie_weights, whether the head is the token
    embedding; biases of queries, keys and values (Qwen2), of the attention's output, of the MLP.
    With d_latent and d_rope the attention is that of DeepSeek-V2 (``MultiHeadLatentAttention``).
    Raises ValueError or TypeError for settings that make no model.
    """

    vocab_size: int
    context_length: int
    d_model: int
    n_heads: int
    n_layers: int
    d_hidden: int
    n_kv_heads: int | None = None
    d_head: int | None = None
    rope_base: float = 10_000.0
    norm_eps: float = 1e-5
    tie_weights: bool = False
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    d_latent: int | None = None
    d_rope: int | None = None

    def __post_init__(self):
        sizes = ("vocab_size", "context_length", "d_model", "n_heads", "n_layers", "d_hidden")
        for name in (*sizes, "n_kv_heads", "d_head", "d_latent", "d_rope"):
            value = getattr(self, name)
            if value is None and name not in sizes:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f"LlamaConfig: {name} must be an integer, got {value!r}")
            if value < 1:
                raise ValueError(f"LlamaConfig: {name} must be at least 1, got {value}")
            object.__setattr__(self, name, int(value))  # NumPy's integers would not fit into JSON
        for name in ("tie_weights", "qkv_bias", "output_bias", "mlp_bias"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(
                    f"LlamaConfig: {name} must be True or False, got {getattr(self, name)!r}"
                )
        for name in ("rope_base", "norm_eps"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"LlamaConfig: {name} must be a number, got {value!r}")
            if not 0 < value < math.inf:
                raise ValueError(f"LlamaConfig: {name} must be positive, got {value}")
        self._check_heads()

    def _check_heads(self):
        if self.d_head is None:
            if self.d_model % self.n_heads:
                raise ValueError(
                    f"LlamaConfig: d_model {self.d_model} is not divisible by n_heads "
                    f"{self.n_heads}; say how wide heads are with d_head"
                )
            object.__setattr__(self, "d_head", self.d_model // self.n_heads)
        if self.n_kv_heads is None:
            object.__setattr__(self, "n_kv_heads", self.n_heads)
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"LlamaConfig: n_heads {self.n_heads} is not divisible by n_kv_heads "
                f"{self.n_kv_heads}"
            )
        if (self.d_latent is None) != (self.d_rope is None):
            raise ValueError("LlamaConfig: d_latent and d_rope are given together or not at all")
        if self.d_latent and (self.n_kv_heads != self.n_heads or self.qkv_bias or self.output_bias):
            raise ValueError(
                "LlamaConfig: latent attention has neither n_kv_heads nor biases of its own"
            )
        name = "d_rope" if self.d_rope else "d_head"
        if getattr(self, name) % 2:
            raise ValueError(
                f"LlamaConfig: {name} {getattr(self, name)} is odd; rotary positions turn pairs"
            )


class LlamaBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); (B, L, D) -> (B, L, D)."""

    def __init__(self, config):
        c = config
        self.norm_1 = nn.RMSNorm(c.d_model, c.norm_eps)
        if c.d_latent:
            self.attention = nn.MultiHeadLatentAttention(
                c.d_model, c.n_heads, c.d_latent, c.d_rope, d_head=c.d_head, norm_eps=c.norm_eps
            )
        else:
            self.attention = nn.MultiHeadAttention(
                c.d_model,
                c.n_heads,
                causal=True,
                bias=c.qkv_bias,
                n_kv_heads=c.n_kv_heads,
                d_head=c.d_head,
                output_bias=c.output_bias,
            )
        self.norm_2 = nn.RMSNorm(c.d_model, c.norm_eps)
        self.mlp = nn.SwiGLU(c.d_model, c.d_hidden, c.mlp_bias)

    def forward(self, x, mask=None, rotary=None, remember=None):
        """Arguments: see ``MultiHeadAttention.forward``."""
        if remember is not None:
            y = straight.block(self, x, mask, rotary, remember)
            if y is not None:
                return y
        x = x + self.attention(self.norm_1(x), mask, rotary, remember)
        return x + self.mlp(self.norm_2(x))


class Llama(Decoder):
    """Llama (Touvron et al. 2023): integer ids (B, L) to logits (B, L, V).

    Weights start as GPT's do: normal with standard deviation 0.02, those that write into the
    residual stream by √(2·l) smaller; biases 0, norm gains 1.

    Arguments: config, a LlamaConfig; seed, an integer for the initial weights, or None to draw
    them from the generator that ``mg.manual_seed`` seeds.
    """

    def __init__(self, config, seed=None):
        if not isinstance(config, LlamaConfig):
            raise TypeError(f"Llama: expected a LlamaConfig, got {type(config).__name__}")
        c = self.config = config
        with nn.init.seeded(seed):
            self.token_embedding = nn.Embedding(c.vocab_size, c.d_model)
            self.blocks = nn.ModuleList(LlamaBlock(c) for _ in range(c.n_layers))
            self.norm = nn.RMSNorm(c.d_model, c.norm_eps)
            if not c.tie_weights:
                self.head = nn.Linear(c.d_model, c.vocab_size, bias=False)
            self.initialise()

    def placed(self, x, positions, past):
        """Tokens get no place of their own: queries and keys are turned by it in every block."""
        if positions is None:
            positions = np.arange(past, past + x.shape[1])
        positions = backend.beside(positions, x.data)
        width = self.config.d_rope or self.config.d_head
        return x, nn.rotary_tables(positions, width, self.config.rope_base, x.dtype)
