"""Initialisers: functions from a shape to a new float32 NumPy array.

A weight has shape (in, out), as in Y = XW, so its fan-in is shape[0] and its fan-out shape[1].
Draws come from the generator that ``mg.manual_seed`` seeds, or from that of ``seeded``.
"""

import contextlib
import contextvars
import math

import numpy as np

from minigrad import backend

RELU_GAIN = math.sqrt(2)
_skipping = contextvars.ContextVar("whether values are skipped", default=False)


@contextlib.contextmanager
def seeded(seed):
    """Inside, draw from a generator of its own with this integer seed; None changes nothing."""
    if seed is None:
        yield
        return
    with backend.replayed_random_state(np.random.PCG64(seed).state):
        yield


@contextlib.contextmanager
def skipped():
    """Inside, parameters get their shapes, but neither values nor memory of their own: all entries
    are one number. For models whose weights come from a file; each ``data`` is to be replaced."""
    token = _skipping.set(True)
    try:
        yield
    finally:
        _skipping.reset(token)


def is_skipped():
    """Whether this is inside ``skipped()``."""
    return _skipping.get()


def hollow(shape, dtype=np.float32):
    """An array of that shape whose entries are all one place in memory, which holds 0."""
    shape = shape if isinstance(shape, tuple) else (shape,)
    return np.lib.stride_tricks.as_strided(np.zeros((), dtype), shape, (0,) * len(shape))


def zeros(shape):
    """All 0."""
    return hollow(shape) if is_skipped() else np.zeros(shape, np.float32)


def ones(shape):
    """All 1."""
    return hollow(shape) if is_skipped() else np.ones(shape, np.float32)


def normal(shape, std=1.0, mean=0.0):
    """Normal with the given mean and standard deviation."""
    if is_skipped():
        return hollow(shape)
    draws = backend.generator().standard_normal(shape, dtype=np.float32)
    return np.asarray(draws * np.float32(std) + np.float32(mean), np.float32)


def uniform(shape, low=-1.0, high=1.0):
    """Uniform in [low, high)."""
    if is_skipped():
        return hollow(shape)
    draws = backend.generator().random(shape, dtype=np.float32)
    return np.asarray(draws * np.float32(high - low) + np.float32(low), np.float32)


def truncated_normal(shape, std=1.0, limit=2.0):
    """Normal with mean 0, drawn again where it falls outside ±limit standard deviations."""
    if limit <= 0:
        raise ValueError(f"truncated_normal: limit must be positive, got {limit}")
    draws = normal(shape)
    while (outside := np.abs(draws) > limit).any():
        draws = np.where(outside, normal(shape), draws)
    return draws * np.float32(std)


def xavier_uniform(shape, gain=1.0):
    """Uniform with variance gain²·2/(fan-in + fan-out) (Glorot and Bengio 2010)."""
    fan_in, fan_out = fans(shape)
    bound = gain * math.sqrt(6 / (fan_in + fan_out))
    return uniform(shape, -bound, bound)


def xavier_normal(shape, gain=1.0):
    """Normal with variance gain²·2/(fan-in + fan-out) (Glorot and Bengio 2010)."""
    fan_in, fan_out = fans(shape)
    return normal(shape, gain * math.sqrt(2 / (fan_in + fan_out)))


def kaiming_uniform(shape, gain=RELU_GAIN):
    """Uniform with variance gain²/fan-in; √2 is the gain of ReLU (He et al. 2015)."""
    bound = gain * math.sqrt(3 / fans(shape)[0])
    return uniform(shape, -bound, bound)


def kaiming_normal(shape, gain=RELU_GAIN):
    """Normal with variance gain²/fan-in; √2 is the gain of ReLU (He et al. 2015)."""
    return normal(shape, gain / math.sqrt(fans(shape)[0]))


def orthogonal(shape, gain=1.0):
    """A matrix with orthonormal rows or columns, whichever are fewer (Saxe et al. 2014)."""
    fan_in, fan_out = fans(shape)
    tall = normal((max(fan_in, fan_out), min(fan_in, fan_out)))
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diagonal(r))
    return np.ascontiguousarray(gain * (q if fan_in >= fan_out else q.T), np.float32).reshape(shape)


def fans(shape):
    """(fan-in, fan-out) of a weight (…, in, out); leading axes count as inputs.

    Raises ValueError below two axes or for an empty one.
    """
    if len(shape) < 2 or not all(shape):
        raise ValueError(f"fan-in and fan-out need a non-empty shape (in, out), got {shape}")
    return math.prod(shape[:-1]), shape[-1]
