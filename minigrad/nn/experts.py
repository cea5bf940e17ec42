"""Mixture of experts: many MLPs in the place of one, of which each token visits a few."""

import math
from typing import NamedTuple

import numpy as np

import minigrad as mg
from minigrad import backend
from minigrad.engine import plain
from minigrad.nn.layers import MLP, as_tensor, one_of, pytorch_uniform
from minigrad.nn.module import Module, ModuleList, Parameter


class Routing(NamedTuple):
    """Where T tokens go: experts (T, k), integers; gates (T, k), what each one's answer weighs;
    probabilities (T, E), what the router thinks of all experts."""

    experts: object
    gates: object
    probabilities: object


class Router(Module):
    """Tokens (T, D) to the top_k of n_experts with the largest scores xW; ``weight`` is (D, E).

    gates="chosen": softmax over the chosen experts' scores, so that a token's gates sum to 1
    (Mixtral; GShard's renormalised probabilities are the same numbers). gates="all": the chosen
    ones' probabilities among all experts (Switch), which top_k=1 needs: a softmax over one score is
    1 whatever the score is, and the router would not learn from the loss.
    """

    def __init__(self, d_model, n_experts, top_k=2, gates="chosen"):
        self.gates = one_of("Router", "gates", gates, ("chosen", "all"))
        if not 1 <= top_k <= n_experts:
            raise ValueError(f"Router: top_k is {top_k}; expected 1 to n_experts = {n_experts}")
        if top_k == 1 and gates == "chosen":
            raise ValueError("Router: with top_k=1 every gate is 1; use gates='all'")
        self.top_k = top_k
        self.weight = Parameter(pytorch_uniform((d_model, n_experts)))

    def forward(self, x):
        """The Routing of x (T, D)."""
        scores = mg.linear(x, self.weight)  # (T, D) -> (T, E)
        probabilities = mg.softmax(scores)
        best, experts = mg.topk(scores, self.top_k)  # (T, E) -> (T, k) twice
        if self.gates == "chosen":
            gates = mg.softmax(best)
        else:
            gates = mg.take_along_axis(probabilities, experts, -1)
        return Routing(backend.to_device(plain(experts), "cpu"), gates, probabilities)

    def extra_repr(self):
        return f"{self.weight.shape[0]}, {self.top_k} of {self.weight.shape[1]} experts"


def dispatch(experts, n_experts, capacity=None):
    """Queue tokens before their experts: (token (N,), choice (N,), counts (E,)), all integers.

    Row n of what is sent is token ``token[n]``, whose choice number ``choice[n]`` it is; rows are
    sorted by expert, and expert e gets ``counts[e]`` of them. First choices queue before second
    ones, earlier tokens before later (GShard), and an expert takes the first ``capacity`` of its
    queue. Arguments: experts (T, k).
    """
    T, k = experts.shape
    queue = experts.T.reshape(-1)  # (T, k) -> (k·T,): choice by choice
    order = np.argsort(queue, kind="stable")
    counts = np.bincount(queue, minlength=n_experts)  # (E,)
    if capacity is not None:
        first = np.cumsum(counts) - counts
        place = np.arange(k * T) - np.repeat(first, counts)  # in the queue of its expert
        order = order[place < capacity]
        counts = np.minimum(counts, capacity)
    return order % max(T, 1), order // max(T, 1), counts


def balance_loss(probabilities, load):
    """E · Σₑ fₑ·Pₑ, smallest (1) where all experts are chosen alike (Fedus et al., Switch, 2021).

    Arguments: probabilities (T, E), whose mean over tokens is P (E,); load (E,), how many times
    each expert was chosen, whose share of the sum is f (E,). f is counted and has no derivative:
    the loss takes probability from experts that are chosen often.
    """
    share = (load / load.sum()).astype(probabilities.dtype)  # (E,)
    share = backend.beside(share, plain(probabilities))
    return (probabilities.mean(axis=0) * share).sum() * len(load)


class MixtureOfExperts(Module):
    """n_experts MLPs, of which each token visits top_k: (…, D) -> (…, D), Σ gate · expert(x).

    Arguments: d_hidden, activation and bias as in MLP; gates as in Router; capacity_factor c: an
    expert takes at most ⌈c·k·T/E⌉ of a call's T tokens, and what does not fit is dropped: that
    choice adds 0 to the token, and gates of its other choices stay as they are. None drops nothing.

    After a call, ``auxiliary_loss`` is its ``balance_loss``, ``load`` (E,) how many times each
    expert was chosen, and ``dropped`` how many of these choices found no place. Raises ValueError
    for settings out of range, and for an x without tokens.
    Sources: Shazeer et al. 2017; GShard (Lepikhin et al. 2020); Switch (Fedus et al. 2021).
    """

    def __init__(
        self,
        d_model,
        n_experts,
        top_k=2,
        d_hidden=None,
        activation="gelu",
        bias=True,
        *,
        capacity_factor=None,
        gates="chosen",
    ):
        if capacity_factor is not None and not capacity_factor > 0:
            raise ValueError(
                f"MixtureOfExperts: capacity_factor must be positive, got {capacity_factor}"
            )
        self.n_experts, self.capacity_factor = n_experts, capacity_factor
        self.router = Router(d_model, n_experts, top_k, gates)
        self.experts = ModuleList(
            MLP(d_model, d_hidden, activation, bias) for _ in range(n_experts)
        )
        self.auxiliary_loss = self.load = self.dropped = None

    def forward(self, x):
        x = as_tensor(x)
        if x.size == 0:
            raise ValueError(f"MixtureOfExperts: x has shape {x.shape}; expected a token or more")
        rows = x.reshape(-1, x.shape[-1])  # (…, D) -> (T, D)
        experts, gates, probabilities = self.router(rows)
        token, choice, counts = dispatch(experts, self.n_experts, self.capacity(len(rows)))
        load = np.bincount(experts.reshape(-1), minlength=self.n_experts)
        self.dropped = experts.size - len(token)
        self.load = self.summed(load)
        self.auxiliary_loss = balance_loss(probabilities, self.load)
        token, choice = (backend.beside(each, plain(rows)) for each in (token, choice))
        y = self.visit(rows[token], counts)  # (N, D) -> (N, D), sorted by expert
        y = y * gates[token, choice][:, None]
        nothing = backend.zeros(rows.shape, plain(rows))
        return mg.scatter_add(nothing, token, y).reshape(x.shape)

    def capacity(self, tokens):
        """How many of so many tokens an expert takes; None for all."""
        if self.capacity_factor is None:
            return None
        return math.ceil(self.capacity_factor * self.router.top_k * tokens / self.n_experts)

    def visit(self, rows, counts):
        """(N, D) -> (N, D): the first counts[0] rows through expert 0, and so on."""
        pieces = mg.split(rows, np.cumsum(counts)[:-1].tolist())
        return mg.concatenate([expert(piece) for expert, piece in zip(self.experts, pieces)])

    def summed(self, load):
        """The load (E,) that ``auxiliary_loss`` is to balance."""
        return load

    def extra_repr(self):
        if self.capacity_factor is None:
            return ""
        return f"capacity_factor={self.capacity_factor:g}"


def auxiliary_loss(model):
    """The sum of the ``auxiliary_loss`` of a model's last call over its MixtureOfExperts.

    Raises ValueError for a model that has none, or has not been called.
    """
    layers = [m for _, m in model.named_modules() if isinstance(m, MixtureOfExperts)]
    losses = [layer.auxiliary_loss for layer in layers]
    missing = sum(loss is None for loss in losses)
    if not losses or missing:
        raise ValueError(
            f"auxiliary_loss: {type(model).__name__} has {len(losses)} MixtureOfExperts, "
            f"{missing} of which have not been called"
        )
    return sum(losses[1:], losses[0])
