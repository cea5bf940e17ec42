"""Multi-head attention and the transformer block."""

from functools import partial

import minigrad as mg
from minigrad.nn.layers import MLP, Dropout, Identity, LayerNorm, Linear, RMSNorm, one_of
from minigrad.nn.module import Module

NORMS = ("layernorm", "rmsnorm", None)


class MultiHeadAttention(Module):
    """Self-attention with n_heads heads of width H (Vaswani et al. 2017).

    ``query``, ``key``, ``value`` and ``output`` are W_Q (D, n_h·H), W_K and W_V (D, n_kv·H) and
    W_O (n_h·H, D). Three products are as fast here as one with all columns, whose gradient has to
    be put together again.

    Arguments: causal, whether position i sees only positions up to i; dropout, the probability
    after the output projection; n_kv_heads, n_heads unless given: with fewer, n_heads / n_kv_heads
    queries share a key and a value (grouped-query attention, Ainslie et al. 2023; 1 is multi-query
    attention, Shazeer 2019); d_head, H, D / n_heads unless given; output_bias, as bias unless
    given. Raises ValueError for heads that do not divide D or each other.
    """

    def __init__(
        self,
        d_model,
        n_heads,
        causal=False,
        bias=True,
        dropout=0.0,
        *,
        n_kv_heads=None,
        d_head=None,
        output_bias=None,
    ):
        n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
        if n_heads < 1 or (d_head is None and d_model % n_heads):
            raise ValueError(
                f"MultiHeadAttention: d_model {d_model} is not divisible by n_heads {n_heads}"
            )
        if n_kv_heads < 1 or n_heads % n_kv_heads:
            raise ValueError(
                f"MultiHeadAttention: n_heads {n_heads} is not divisible by n_kv_heads {n_kv_heads}"
            )
        self.n_heads = n_heads
        self.n_kv_heads = n_kv_heads
        self.d_head = d_model // n_heads if d_head is None else d_head
        self.causal = causal
        self.query = Linear(d_model, n_heads * self.d_head, bias)
        self.key = Linear(d_model, n_kv_heads * self.d_head, bias)
        self.value = Linear(d_model, n_kv_heads * self.d_head, bias)
        self.output = Linear(
            n_heads * self.d_head, d_model, bias if output_bias is None else output_bias
        )
        self.dropout = Dropout(dropout)

    def forward(self, x, mask=None, rotary=None, remember=None):
        """(B, L, D) of x (B, L, D).

        Arguments: mask, bool that broadcasts to (B, n_h, L, L), True where position i (row) attends
        to j (column); rotary, the (cos, sin) of ``rotary_tables`` that turn queries and keys, each
        (L, H/2) or (B, L, H/2); remember, a function that takes the keys and values
        (B, n_kv, L, H) of these positions, and gives those of all positions so far, as a cache's.
        """
        B = x.shape[0]
        q, k, v = self.projections(x)  # (B, L, n·H) each
        L = q.shape[1]
        q = q.reshape(B, L, self.n_heads, self.d_head)
        k = k.reshape(B, L, self.n_kv_heads, self.d_head)
        v = v.reshape(B, L, self.n_kv_heads, self.d_head)
        if rotary is not None:
            cos, sin = (table[..., None, :] for table in rotary)  # (…, L, H/2) -> (…, L, 1, H/2)
            q, k = mg.rotary(q, cos, sin), mg.rotary(k, cos, sin)
        q, k, v = (t.transpose(0, 2, 1, 3) for t in (q, k, v))  # (B, L, n, H) -> (B, n, L, H)
        if remember is not None:
            k, v = remember(k, v)  # (B, n_kv, L, H) -> (B, n_kv, all positions so far, H)
        y = self.attend(q, k, v, mask)
        y = y.transpose(0, 2, 1, 3).reshape(B, L, -1)  # (B, n_h, L, H) -> (B, L, n_h·H)
        return self.dropout(self.output(y))

    def attend(self, q, k, v, mask):
        """(B, n_h, L, H) of queries (B, n_h, L, H), keys and values (B, n_kv, T, H)."""
        return mg.scaled_dot_product_attention(q, k, v, causal=self.causal, mask=mask)

    def projections(self, x):
        """Queries (B, L, n_h·H), keys and values (B, L, n_kv·H) of x (B, L, D)."""
        return self.query(x), self.key(x), self.value(x)

    def extra_repr(self):
        shared = f", {self.n_kv_heads} of keys" if self.n_kv_heads != self.n_heads else ""
        causal = ", causal" if self.causal else ""
        return f"{self.output.weight.shape[1]}, {self.n_heads} heads{shared}{causal}"


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

    def forward(self, x, mask=None, rotary=None, remember=None):
        """Arguments: see ``MultiHeadAttention.forward``."""
        attention = partial(self.attention, mask=mask, rotary=rotary, remember=remember)
        x = self._around(attention, self.norm_1, x)
        return self._around(self.mlp, self.norm_2, x)

    def _around(self, layer, norm, x):
        y = layer(norm(x) if self.norm_first else x)
        if self.residual:
            y = x + y
        return y if self.norm_first else norm(y)

    def extra_repr(self):
        wiring = "norm first" if self.norm_first else "norm last"
        return wiring if self.residual else f"{wiring}, no residual"
