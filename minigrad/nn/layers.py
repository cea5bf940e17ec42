"""The layers that every model is built from."""

import math

import minigrad as mg
from minigrad.nn import init
from minigrad.nn.module import Module, Parameter


def pytorch_uniform(shape):
    """Uniform within ±1/√fan-in, the usual start of a linear layer in PyTorch."""
    return init.kaiming_uniform(shape, gain=1 / math.sqrt(3))


class Linear(Module):
    """Y = XW + b for X (…, in), W (in, out), b (out,); Y (…, out).

    Arguments: weight_init, a function from a shape to an array (``nn.init``); biases start at 0.
    Raises ValueError when the last axis of X is not ``in`` long.
    """

    def __init__(self, in_features, out_features, bias=True, *, weight_init=pytorch_uniform):
        _positive("Linear", in_features=in_features, out_features=out_features)
        self.weight = Parameter(weight_init((in_features, out_features)))
        self.bias = Parameter(init.zeros(out_features)) if bias else None

    def forward(self, x):
        x = as_tensor(x)
        if x.ndim == 0 or x.shape[-1] != self.weight.shape[0]:
            raise ValueError(
                f"Linear: input has shape {x.shape}, expected (…, {self.weight.shape[0]}) "
                f"for a weight of shape {self.weight.shape}"
            )
        return mg.linear(x, self.weight, self.bias)

    def extra_repr(self):
        no_bias = "" if self.bias is not None else ", bias=False"
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}{no_bias}"


class Embedding(Module):
    """Rows of a table: integer ids (…) in [0, n) pick from the weight (n, D); gives (…, D)."""

    def __init__(self, num_embeddings, embedding_dim, *, weight_init=init.normal):
        _positive("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.weight = Parameter(weight_init((num_embeddings, embedding_dim)))

    def forward(self, ids):
        return mg.embedding(self.weight, as_tensor(ids))

    def extra_repr(self):
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}"


class LayerNorm(Module):
    """(x − mean)/√(variance + eps) · weight + bias over the last axis, D long (Ba et al. 2016)."""

    def __init__(self, d_model, eps=1e-5, bias=True):
        _positive("LayerNorm", d_model=d_model)
        self.weight = Parameter(init.ones(d_model))
        self.bias = Parameter(init.zeros(d_model)) if bias else None
        self.eps = eps

    def forward(self, x):
        return mg.layer_norm(x, self.weight, self.bias, eps=self.eps)

    def extra_repr(self):
        no_bias = "" if self.bias is not None else ", bias=False"
        return f"{self.weight.shape[0]}, eps={self.eps:g}{no_bias}"


class RMSNorm(Module):
    """x / √(mean of x² + eps) · weight over the last axis, D long (Zhang and Sennrich 2019)."""

    def __init__(self, d_model, eps=1e-5):
        _positive("RMSNorm", d_model=d_model)
        self.weight = Parameter(init.ones(d_model))
        self.eps = eps

    def forward(self, x):
        return mg.rms_norm(x, self.weight, eps=self.eps)

    def extra_repr(self):
        return f"{self.weight.shape[0]}, eps={self.eps:g}"


class Dropout(Module):
    """In training, zero each entry with probability p and scale the rest by 1/(1 − p)."""

    def __init__(self, p=0.5):
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: p must be in [0, 1), got {p}")
        self.p = p

    def forward(self, x):
        return mg.dropout(as_tensor(x), self.p, training=self.training)

    def extra_repr(self):
        return f"{self.p:g}"


class Identity(Module):
    """Gives back what it is given: the place of a layer that is left out."""

    def forward(self, x):
        return x


ACTIVATIONS = {
    "gelu": lambda x: mg.gelu(x),
    "gelu_tanh": lambda x: mg.gelu(x, approximate="tanh"),
    "relu": lambda x: mg.relu(x),
}


class MLP(Module):
    """Two linear layers with an activation between: (…, D) -> (…, d_hidden) -> (…, D).

    Arguments: d_hidden, 4·D unless given; activation "gelu", "gelu_tanh" or "relu"; dropout, the
    probability after the second layer. Raises ValueError for an unknown activation.
    """

    def __init__(self, d_model, d_hidden=None, activation="gelu", bias=True, dropout=0.0):
        self.activation = one_of("MLP", "activation", activation, ACTIVATIONS)
        self.up = Linear(d_model, d_hidden or 4 * d_model, bias)
        self.down = Linear(d_hidden or 4 * d_model, d_model, bias)
        self.dropout = Dropout(dropout)

    def forward(self, x):
        h = ACTIVATIONS[self.activation](self.up(x))  # (…, D) -> (…, 4D)
        return self.dropout(self.down(h))  # (…, 4D) -> (…, D)

    def extra_repr(self):
        return self.activation


class SwiGLU(Module):
    """The gated MLP of Llama (Shazeer 2020): (…, D) -> (…, d_hidden) twice -> (…, D).

    ``down(silu(gate(x)) · up(x))``: one half of the hidden units decides how much of the other
    passes. Arguments: d_hidden, often 8/3·D, which makes three matrices as large as the two of MLP.
    """

    def __init__(self, d_model, d_hidden, bias=False):
        self.gate = Linear(d_model, d_hidden, bias)
        self.up = Linear(d_model, d_hidden, bias)
        self.down = Linear(d_hidden, d_model, bias)

    def forward(self, x):
        return self.down(mg.swiglu(self.gate(x), self.up(x)))


def as_tensor(x):
    """The Tensor itself, or a Tensor of an array or nested list."""
    return x if isinstance(x, mg.Tensor) else mg.tensor(x)


def one_of(owner, name, value, allowed):
    """``value`` if it is allowed; otherwise a ValueError that lists what is."""
    if value not in allowed:
        choices = ", ".join(repr(choice) for choice in allowed)
        raise ValueError(f"{owner}: {name} must be one of {choices}, got {value!r}")
    return value


def _positive(owner, **sizes):
    for name, size in sizes.items():
        if int(size) != size or size < 1:
            raise ValueError(f"{owner}: {name} must be a positive integer, got {size!r}")
