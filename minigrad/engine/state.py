"""Levels, and what the engine is told by its surroundings."""

import contextlib
import contextvars
import functools
import itertools
from typing import NamedTuple

CONSTANT, AMBIENT = -1, 0  # levels: outside every graph; the tape of loss.backward()

_count_levels = itertools.count(1)


class State(NamedTuple):
    """What the engine is told by its surroundings (a context variable, so threads may differ)."""

    recording_since: int = 0  # reverse levels below this one do not record (no_grad)
    kernels: bool = True
    anomaly: bool = False
    region: object = None  # the checkpointed region being recorded, if any
    on_leaf: object = None  # (tensor, cotangent) -> bool: who takes gradients during backward


_default_state = State()
_state = contextvars.ContextVar("minigrad state", default=_default_state)


@contextlib.contextmanager
def state(**changes):
    """Change entries of the engine's State inside a ``with`` block."""
    token = _state.set(_state.get()._replace(**changes))
    try:
        yield
    finally:
        _state.reset(token)


@contextlib.contextmanager
def no_grad():
    """Inside ``with no_grad():`` calls are computed but not recorded for reverse mode."""
    with state(recording_since=new_level()):
        yield


def detect_anomaly():
    """Inside this block the first NaN or infinity raises, naming the op and its inputs."""
    return state(anomaly=True)


class use_kernels:
    """Turn fused kernels on or off: a plain call, or a ``with`` block or decorator that turns them
    back."""

    def __init__(self, on):
        self.on = on
        self.before = _state.get()
        _state.set(self.before._replace(kernels=bool(on)))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        _state.set(_state.get()._replace(kernels=self.before.kernels))

    def __call__(self, f):
        self.__exit__()  # a decorator changes nothing until the function is called

        @functools.wraps(f)
        def switched(*args, **kwargs):
            with use_kernels(self.on):
                return f(*args, **kwargs)

        return switched


def records(level):
    """Whether calls on reverse level ``level`` are being recorded here."""
    return level >= _state.get().recording_since


def kernels_on():
    """Whether fused kernels may be used here."""
    return _state.get().kernels


def seeks_anomalies():
    """Whether this is inside ``detect_anomaly()``."""
    return _state.get().anomaly


def new_level():
    """A level above all levels so far; no two calls return the same one."""
    return next(_count_levels)
