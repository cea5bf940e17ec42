"""Drawing the next token: temperature, filters, and a generator of random numbers."""

import numpy as np

from minigrad import backend, nn
from minigrad.inference import filters
from minigrad.inference.decoding import Decoding, Greedy, RowByRow
from minigrad.inference.generate import generate


class Sample(Decoding):
    """Draw the next token by its probability.

    Arguments, each of which may be left out:
        temperature: logits are divided by it; below 1 likely tokens become likelier still.
        top_k, top_p, min_p: leave only the likeliest tokens, see ``top_k_filter`` and its kin.
        repetition_penalty: see the function of that name; the prompt counts as text. (Tokens that
            are in a cache alone are not known here, and do not count.)
        seed: an integer, with which every use of this strategy draws alike, or None to draw from
            the generator that ``mg.manual_seed`` seeds.
    They apply in the order of ``minigrad.inference.filters``. Raises ValueError or TypeError for
    values that make no distribution.
    """

    def __init__(
        self,
        temperature=1.0,
        top_k=None,
        top_p=None,
        min_p=None,
        repetition_penalty=None,
        seed=None,
    ):
        self.temperature, self.top_k, self.top_p, self.min_p = temperature, top_k, top_p, min_p
        self.repetition_penalty, self.seed = repetition_penalty, seed
        hint = "; Greedy() takes the likeliest token"
        filters.positive("temperature", temperature, hint=hint)
        self.probabilities(np.zeros((1, 2)), [[0]])  # every filter checks what it is given
        np.random.default_rng(seed)

    def start(self, batch, max_new_tokens, stop):
        rng = backend.generator() if self.seed is None else np.random.default_rng(self.seed)

        def choose(logits, texts):
            logits, tokens = self._left(logits, texts)
            return tokens[draw(filters.softmax(logits), rng)]

        return RowByRow(choose, batch, stop)

    def probabilities(self, logits, texts=None):
        """What is drawn from: float64 (R, V), for logits (R, V) and, if there is a repetition
        penalty, the tokens of each row so far."""
        shares = np.zeros(np.shape(logits))
        logits, tokens = self._left(logits, texts)
        shares[:, tokens] = filters.softmax(logits)
        return shares

    def _left(self, logits, texts):
        """(logits (R, n), tokens (n,)): the tokens that are left to some row, in order of id. So
        each filter has less to look at than the one before."""
        logits = np.asarray(logits, np.float64)
        if self.repetition_penalty is not None:
            logits = filters.repetition_penalty(logits, texts, self.repetition_penalty)
        if self.temperature != 1:
            logits = logits - logits.max(axis=-1, keepdims=True)
            with np.errstate(over="ignore"):  # at the smallest temperatures, −∞ is right
                logits /= self.temperature
        tokens = np.arange(logits.shape[-1])
        for name in ("top_k", "top_p", "min_p"):
            value = getattr(self, name)
            if value is not None:
                logits = getattr(filters, f"{name}_filter")(logits, value)
                left = (logits > -np.inf).any(axis=0)
                logits, tokens = logits[:, left], tokens[left]
        return logits, tokens

    def __repr__(self):
        given = {name: value for name, value in vars(self).items() if value is not None}
        return f"Sample({', '.join(f'{name}={value}' for name, value in given.items())})"


def draw(probabilities, rng):
    """One token id for each row of probabilities (R, V), drawn with a NumPy generator: int64 (R,).

    A number is drawn between 0 and the whole; the token is the one in whose share it falls.
    """
    mass = np.cumsum(probabilities, axis=-1)
    drawn = rng.random((len(mass), 1)) * mass[:, -1:]
    return (mass <= drawn).sum(axis=-1)


class Window(nn.Module):
    """A model that sees of each text only as many of the last tokens as its context holds, so that
    texts may grow without end. What it gives is (B, 1, V), and it needs ``cache=False``, since
    every step moves all tokens to other places.

    Argument: model, a module of ids (B, L) to logits (B, L, V).
    """

    def __init__(self, model):
        self.model = model

    def forward(self, ids):
        longest = getattr(getattr(self.model, "config", None), "context_length", ids.shape[1])
        return self.model(ids[:, -longest:])[:, -1:]


def sample(
    model,
    ids,
    max_new_tokens,
    temperature=1.0,
    top_k=None,
    top_p=None,
    greedy=False,
    seed=None,
):
    """Continue a prompt by ``max_new_tokens`` tokens, however short the model's context is.

    Arguments: see ``generate``, ``Sample`` and ``Window``; greedy=True, to take the likeliest.
    Returns the prompt with its continuation: int64 (L + n,) for ids (L,), (B, L + n) for (B, L).
    """
    how = Greedy() if greedy else Sample(temperature, top_k, top_p, seed=seed)
    return generate(Window(model), ids, max_new_tokens, how, cache=False)
