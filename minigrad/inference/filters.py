"""What stands between a model's logits and a draw: penalties and filters, one function each.

Filters take logits (…, V) and set those of the tokens that may not be drawn to −∞; a softmax then
shares the whole probability among the others. They mean what the logits processors of Hugging
Face's transformers mean, which follow one another in this order: repetition penalty, temperature,
top-k, top-p, min-p.
"""

import operator

import numpy as np


def softmax(logits):
    """Probabilities (…, V) of logits (…, V), in float64."""
    logits = np.asarray(logits, np.float64)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def repetition_penalty(logits, texts, penalty):
    """Make the tokens less likely that a text has already: positive logits are divided by the
    penalty, negative ones multiplied.

    Arguments: logits (R, V); texts, R arrays of token ids; penalty, positive: 1 changes nothing,
    about 1.2 keeps a model from repeating itself (Keskar et al. 2019), less than 1 invites it to.
    Raises ValueError for a penalty that is not positive.
    """
    penalty = positive("repetition_penalty", penalty)
    logits = np.array(logits)
    for row, text in zip(logits, texts, strict=True):
        seen = np.unique(text)
        row[seen] = np.where(row[seen] > 0, row[seen] / penalty, row[seen] * penalty)
    return logits


def top_k_filter(logits, k):
    """Keep the k largest logits of each row (…, V), and what equals the k-th; the others become −∞.

    Raises ValueError for k < 1; k may be more than V.
    """
    k = min(at_least_one("top_k", k), np.shape(logits)[-1])
    kth_largest = np.partition(logits, -k, axis=-1)[..., -k, None]
    return np.where(logits >= kth_largest, logits, -np.inf)


def top_p_filter(logits, p):
    """Keep each row's smallest set of likeliest tokens with mass at least p; the others become −∞.

    Logits (…, V). The likeliest token always stays; of equally likely ones the first do
    (Holtzman et al. 2020). Raises ValueError for p outside (0, 1].
    """
    p = positive("top_p", p, most=1)
    if p == 1:
        return logits
    probabilities = softmax(logits)
    largest, before = _largest_with_mass(probabilities, p)
    size = (before < p).sum(axis=-1, keepdims=True)  # of the set
    least = np.take_along_axis(largest, size - 1, axis=-1)
    keep = probabilities >= least
    if (keep.sum(axis=-1, keepdims=True) > size).any():
        beyond = probabilities > least
        room = size - beyond.sum(axis=-1, keepdims=True)
        equal = probabilities == least
        keep = beyond | (equal & (np.cumsum(equal, axis=-1) <= room))
    return np.where(keep, logits, -np.inf)


def _largest_with_mass(probabilities, p):
    """So many of the largest probabilities, in falling order, that they have mass p, and the mass
    before each: two arrays (…, m). Looks at few before it looks at all, for sorting is slow."""
    vocabulary, m = probabilities.shape[-1], 64
    while True:
        m = min(8 * m, vocabulary)
        largest = np.sort(np.partition(probabilities, -m, axis=-1)[..., -m:], axis=-1)[..., ::-1]
        mass = np.cumsum(largest, axis=-1)
        if m == vocabulary or (mass[..., -1] >= p).all():
            return largest, mass - largest


def min_p_filter(logits, p):
    """Keep the tokens at least p times as likely as the row's likeliest; the others become −∞.

    Logits (…, V) (Nguyen et al. 2024). Raises ValueError for p outside [0, 1].
    """
    if not 0 <= number("min_p", p) <= 1:
        raise ValueError(f"min_p is {p!r}, expected a number from 0 to 1")
    logits = np.asarray(logits)
    ratio = np.exp(logits - logits.max(axis=-1, keepdims=True))  # to the likeliest one
    return np.where(ratio >= p, logits, -np.inf)


def number(name, value):
    """The value, if it is a real number; otherwise a TypeError with its name."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} is {value!r}, expected a number")
    return value


def positive(name, value, most=None, hint=""):
    """The value, if it is a number in (0, most], or (0, ∞); otherwise an error with its name."""
    within = 0 < number(name, value) < np.inf if most is None else 0 < number(name, value) <= most
    if not within:
        what = "a positive number" if most is None else f"a number in (0, {most}]"
        raise ValueError(f"{name} is {value!r}, expected {what}{hint}")
    return value


def at_least_one(name, value):
    """The value, if it is an integer of at least 1; otherwise an error with its name."""
    try:
        whole = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}, expected an integer") from None
    if whole < 1 or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}, expected an integer of at least 1")
    return whole
