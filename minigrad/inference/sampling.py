"""Choosing the next token: greedy, temperature, top-k and top-p.

The model gives logits; filters set those of the tokens that may not be drawn to −∞, and what is
left is drawn from by its softmax. Each step runs the model on the whole context again.
"""

import numpy as np

import minigrad as mg
from minigrad.nn.module import evaluating


def top_k_filter(logits, k):
    """Keep the k largest logits of each row (…, V); the others become −∞.

    At ties the lower index is kept, so that exactly min(k, V) remain. Raises ValueError for k < 1.
    """
    if k < 1:
        raise ValueError(f"top_k_filter: k must be at least 1, got {k}")
    return np.where(_rank(logits) < k, logits, -np.inf)


def top_p_filter(logits, p):
    """Keep each row's smallest set of likeliest tokens with mass at least p; the others become −∞.

    Logits (…, V). The likeliest token always stays (Holtzman et al. 2020).
    Raises ValueError for p outside (0, 1].
    """
    if not 0 < p <= 1:
        raise ValueError(f"top_p_filter: p must be in (0, 1], got {p}")
    if p == 1:
        return logits
    probabilities = softmax(logits)
    likeliest_first = np.sort(probabilities, axis=-1)[..., ::-1]
    mass_before = np.cumsum(likeliest_first, axis=-1) - likeliest_first
    size = (mass_before < p).sum(axis=-1, keepdims=True)
    return np.where(_rank(logits) < size, logits, -np.inf)


def softmax(logits):
    """Probabilities (…, V) of logits (…, V), in float64."""
    shifted = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def _rank(logits):
    """Each logit's place in its row, 0 for the largest, equal ones in order of index."""
    order = np.argsort(-np.asarray(logits), axis=-1, kind="stable")
    return np.argsort(order, axis=-1, kind="stable")


def choose(logits, rng, *, temperature=1.0, top_k=None, top_p=None, greedy=False):
    """One token id for each row of logits (B, V): an int64 array (B,).

    Greedy takes the largest. Otherwise logits are divided by the temperature, filtered by top_k,
    then by top_p, and drawn from with the NumPy generator ``rng``. Raises ValueError for a
    temperature that is not positive, FloatingPointError for a row without a finite largest logit.
    """
    if not np.isfinite(np.max(logits, axis=-1)).all():
        raise FloatingPointError(
            "choose: a row of logits holds NaN or infinity, or nothing but -infinity; "
            "the model's weights have diverged"
        )
    if greedy:
        return logits.argmax(axis=-1)
    if not temperature > 0:
        raise ValueError(
            f"choose: temperature must be positive, got {temperature}; for the likeliest token "
            "use greedy=True"
        )
    logits = np.asarray(logits, np.float64) / temperature
    if top_k is not None:
        logits = top_k_filter(logits, top_k)
    if top_p is not None:
        logits = top_p_filter(logits, top_p)
    mass = np.cumsum(softmax(logits), axis=-1)
    draws = rng.random((len(logits), 1)) * mass[:, -1:]
    return (mass <= draws).sum(axis=-1)


def stream(model, ids, max_new_tokens, *, seed=None, **how):
    """Yield the next token ids one step at a time, as soon as each is known.

    Arguments: model, ids (B, L) to logits (B, L, V); ids, a prompt (L,) or prompts (B, L) of
    integers, L at least 1; how, the options of ``choose``; seed, an integer, or None to draw from
    the generator that ``mg.manual_seed`` seeds. Yields ints for one prompt, arrays (B,) for
    several. A context longer than the model's is cut at the left.
    """
    ids = ids.numpy() if isinstance(ids, mg.Tensor) else np.asarray(ids)
    if ids.ndim not in (1, 2) or ids.shape[-1] == 0:
        raise ValueError(
            f"sample: ids must have shape (L,) or (B, L) with L at least 1, got {ids.shape}"
        )
    rng = mg.backend.generator() if seed is None else np.random.default_rng(seed)
    context = np.atleast_2d(ids)
    for _ in range(max_new_tokens):
        chosen = choose(next_logits(model, context), rng, **how)
        context = np.concatenate([context, chosen[:, None]], axis=1)
        yield chosen if ids.ndim == 2 else int(chosen[0])


def next_logits(model, context):
    """The model's logits (B, V) for what follows a context (B, L), without dropout or a graph."""
    if longest := getattr(getattr(model, "config", None), "context_length", None):
        context = context[:, -longest:]
    with evaluating(model), mg.no_grad():
        return model(context).numpy()[:, -1]


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
    """Continue a prompt by ``max_new_tokens`` tokens.

    Arguments: see ``stream`` and ``choose``. Returns the prompt with its continuation:
    int64 (L + n,) for ids (L,), (B, L + n) for ids (B, L).
    """
    how = dict(temperature=temperature, top_k=top_k, top_p=top_p, greedy=greedy)
    new = list(stream(model, ids, max_new_tokens, seed=seed, **how))
    ids = ids.numpy() if isinstance(ids, mg.Tensor) else np.asarray(ids)
    new = np.asarray(new, np.int64).reshape(len(new), *ids.shape[:-1])
    return np.concatenate([ids, np.moveaxis(new, 0, -1)], axis=-1)
