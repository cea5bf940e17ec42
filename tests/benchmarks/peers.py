"""The same work for each peer: minigrad, PyTorch, HIPS autograd. Nothing here is timed."""

import math

import numpy as np

import minigrad as mg

SMALL = dict(vocab_size=65, context_length=64, d_model=128, n_heads=4, n_layers=4)
LARGE = dict(vocab_size=65, context_length=256, d_model=384, n_heads=6, n_layers=6)
TINY = dict(vocab_size=65, context_length=8, d_model=8, n_heads=1, n_layers=1)
BATCH = {"tiny": 1, "small": 12, "large": 4}
SIZES = {"tiny": TINY, "small": SMALL, "large": LARGE}


def mlp_arrays(layers=10, width=64, batch=32):
    """Weights and input of the MLP: ten (64, 64) weights, input (32, 64), float64."""
    random = np.random.default_rng(0)
    weights = [random.standard_normal((width, width)) / 8 for _ in range(layers)]
    return weights, random.standard_normal((batch, width))


def mlp_minigrad():
    weights, x = mlp_arrays()

    def loss(weights):
        h = x
        for w in weights:
            h = mg.tanh(h @ w)
        return mg.sum(h * h)

    gradient = mg.grad(loss)
    return lambda: gradient(weights)


def mlp_minigrad_backward():
    weights, x = mlp_arrays()
    weights = [mg.tensor(w, requires_grad=True) for w in weights]

    def step():
        h = x
        for w in weights:
            w.grad = None
            h = mg.tanh(h @ w)
        mg.sum(h * h).backward()
        return [w.grad.numpy() for w in weights]

    return step


def mlp_autograd():
    import autograd
    import autograd.numpy as anp

    weights, x = mlp_arrays()

    def loss(weights):
        h = x
        for w in weights:
            h = anp.tanh(anp.dot(h, w))
        return anp.sum(h * h)

    gradient = autograd.grad(loss)
    return lambda: gradient(weights)


def mlp_torch():
    import torch

    weights, x = mlp_arrays()
    weights = [torch.tensor(w, requires_grad=True) for w in weights]
    x = torch.tensor(x)

    def step():
        h = x
        for w in weights:
            h = torch.tanh(h @ w)
        return torch.autograd.grad((h * h).sum(), weights)

    return step


def token_batch(size):
    """(x, y) ids (B, L) of one step."""
    config = SIZES[size]
    shape = (BATCH[size], config["context_length"] + 1)
    ids = np.random.default_rng(1).integers(0, config["vocab_size"], shape)
    return ids[:, :-1], ids[:, 1:]


def gpt_minigrad(size):
    model = mg.models.GPT(mg.models.GPTConfig(**SIZES[size]), seed=0)
    optimizer = mg.optim.AdamW(model.parameters(), lr=1e-4)
    x, y = token_batch(size)

    def step():
        loss = mg.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def gpt_loss_minigrad(size):
    """The loss as a function of a dict of parameters, and the parameters."""
    model = mg.models.GPT(mg.models.GPTConfig(**SIZES[size]), seed=0)
    x, y = token_batch(size)
    parameters = {name: p.data for name, p in model.named_parameters()}

    def loss(parameters):
        return mg.cross_entropy(mg.nn.functional_call(model, parameters, x), y)

    return loss, parameters


def gpt_torch(size):
    import torch

    model = torch_gpt(**SIZES[size])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    x, y = (torch.tensor(ids) for ids in token_batch(size))

    def step():
        logits = model(x)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def torch_gpt(vocab_size, context_length, d_model, n_heads, n_layers):
    """The same GPT in PyTorch: pre-norm, exact GELU, no biases, fused attention."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm_1 = nn.LayerNorm(d_model, bias=False)
            self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
            self.output = nn.Linear(d_model, d_model, bias=False)
            self.norm_2 = nn.LayerNorm(d_model, bias=False)
            self.up = nn.Linear(d_model, 4 * d_model, bias=False)
            self.down = nn.Linear(4 * d_model, d_model, bias=False)

        def forward(self, x):
            B, L, D = x.shape
            heads = (B, L, n_heads, D // n_heads)
            q, k, v = (t.view(heads).transpose(1, 2) for t in self.qkv(self.norm_1(x)).split(D, 2))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.output(y.transpose(1, 2).reshape(B, L, D))
            return x + self.down(F.gelu(self.up(self.norm_2(x))))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(vocab_size, d_model)
            self.positions = nn.Embedding(context_length, d_model)
            self.blocks = nn.ModuleList(Block() for _ in range(n_layers))
            self.norm = nn.LayerNorm(d_model, bias=False)
            self.head = nn.Linear(d_model, vocab_size, bias=False)
            for name, p in self.named_parameters():
                if p.ndim == 2:
                    into_residual = name.endswith(("output.weight", "down.weight"))
                    scale = math.sqrt(2 * n_layers) if into_residual else 1
                    nn.init.normal_(p, std=0.02 / scale)

        def forward(self, ids):
            x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))

    torch.manual_seed(0)
    return GPT()
