"""Multi-head attention and the transformer block."""

from functools import partial

import minigrad as mg
from minigrad.nn.layers import MLP, Dropout, Identity, LayerNorm, Linear, RMSNorm, one_of
from minigrad.nn.module import Module

NORMS = ("layernorm", "rmsnorm", None)


class MultiHeadAttention(Module):
    """Self-attention with n_heads heads of width H = D / n_heads (Vaswani et al. 2017).

    ``query``, ``key``, ``value`` and ``output`` are W_Q, W_K, W_V and W_O, each (D, D). Three
    products are as fast here as one (D, 3D) product, whose gradient has to be put together again.

    Arguments: causal, whether position i sees only positions up to i; dropout, the probability
    after the output projection. Calling it takes x (B, L, D) and optionally a bool mask that
    broadcasts to (B, n_heads, L, L), True where position i (row) attends to j (column); gives
    (B, L, D). Raises ValueError when D is not divisible by n_heads.
    """

    def __init__(self, d_model, n_heads, causal=False, bias=True, dropout=0.0):
        if n_heads < 1 or d_model % n_heads:
            raise ValueError(
                f"MultiHeadAttention: d_model {d_model} is not divisible by n_heads {n_heads}"
            )
        self.n_heads = n_heads
        self.causal = causal
        self.query = Linear(d_model, d_model, bias)
        self.key = Linear(d_model, d_model, bias)
        self.value = Linear(d_model, d_model, bias)
        self.output = Linear(d_model, d_model, bias)
        self.dropout = Dropout(dropout)

    def forward(self, x, mask=None):
        q, k, v = self._heads(self.query(x)), self._heads(self.key(x)), self._heads(self.value(x))
        y = mg.scaled_dot_product_attention(q, k, v, causal=self.causal, mask=mask)
        y = y.transpose(0, 2, 1, 3).reshape(x.shape)  # (B, n_h, L, H) -> (B, L, D)
        return self.dropout(self.output(y))

    def _heads(self, x):
        B, L, D = x.shape
        x = x.reshape(B, L, self.n_heads, D // self.n_heads)  # (B, L, D) -> (B, L, n_h, H)
        return x.transpose(0, 2, 1, 3)  # -> (B, n_h, L, H)

    def extra_repr(self):
        causal = ", causal" if self.causal else ""
        return f"{self.output.weight.shape[0]}, {self.n_heads} heads{causal}"


def make_norm(kind, d_model, bias=True):
    """The normalisation layer of that name over D: "layernorm", "rmsnorm", or None for none."""
    one_of("norm", "kind", kind, NORMS)
    if kind is None:
        return Identity()
    return RMSNorm(d_model) if kind == "rmsnorm" else LayerNorm(d_model, bias=bias)


class TransformerBlock(Module):
    """Attention, then an MLP, each with a norm and a residual around it; (B, L, D) -> (B, L, D).

    With norm_first (GPT-2) a sub-layer f gives x + f(norm(x)), otherwise (the original) norm(x +
    f(x)). norm=None and residual=False leave f(x): the block as the lecture draws it.
    """

    def __init__(
        self,
        d_model,
        n_heads,
        *,
        d_hidden=None,
        activation="gelu",
        norm="layernorm",
        norm_first=True,
        residual=True,
        causal=False,
        bias=True,
        dropout=0.0,
    ):
        self.norm_first = norm_first
        self.residual = residual
        self.norm_1 = make_norm(norm, d_model, bias)
        self.attention = MultiHeadAttention(d_model, n_heads, causal, bias, dropout)
        self.norm_2 = make_norm(norm, d_model, bias)
        self.mlp = MLP(d_model, d_hidden, activation, bias, dropout)

    def forward(self, x, mask=None):
        x = self._around(partial(self.attention, mask=mask), self.norm_1, x)
        return self._around(self.mlp, self.norm_2, x)

    def _around(self, layer, norm, x):
        y = layer(norm(x) if self.norm_first else x)
        if self.residual:
            y = x + y
        return y if self.norm_first else norm(y)

    def extra_repr(self):
        wiring = "norm first" if self.norm_first else "norm last"
        return wiring if self.residual else f"{wiring}, no residual"
