"""What happens to values where they enter and leave a transform."""

import numpy as np

from minigrad import backend, engine
from minigrad.engine import CONSTANT, Traced, box, plain
from minigrad.transforms.trees import flatten, map_leaves


def inner(value, what, where):
    """A leaf of the caller's as what a level holds: an array, or the caller's own Tensor."""
    if type(value) is np.ndarray and value.dtype in backend.FLOATING:
        return value
    if isinstance(value, Traced):
        value = value.data if value.level == CONSTANT else value
    elif isinstance(value, (bool, int, float)):
        value = backend.array(value)
    elif not backend.is_array(value):
        raise TypeError(
            f"{what}: {where} is a {type(value).__name__}; expected an array, a Tensor, "
            "a number, or nested dicts, lists and tuples of them"
        )
    if not backend.is_floating(value.dtype):
        raise TypeError(
            f"{what}: {where} has dtype {value.dtype}; derivatives need floating point, "
            "as in astype('float32') or 1.0 in place of 1"
        )
    return value


def constant(value):
    """Arrays become Tensors for the function; all else, NumPy's integers too, goes in as it is."""
    if isinstance(value, np.generic) and not backend.is_floating(value.dtype):
        return value
    return box(value) if backend.is_array(value) else value


def has_tensor(tree):
    return any(isinstance(each, Traced) for each in flatten(tree)[0])


def outward(value, tensors):
    """A result for the caller: a bare array unless there were Tensors in, or a graph follows it."""
    if isinstance(value, Traced):
        return value if tensors or value.level != CONSTANT else value.data
    if not backend.is_array(value):
        return value
    if isinstance(value, np.ndarray) and not value.flags.writeable:
        value = value.copy()
    return box(value) if tensors else value


def lower(value, level):
    """A value without ``level``."""
    return value.data if isinstance(value, Traced) and value.level in (level, CONSTANT) else value


def tensor_outputs(tree, what):
    leaves, rebuild = flatten(tree)
    for each in leaves:
        if not isinstance(each, Traced) and not backend.is_array(each):
            if isinstance(each, (int, float)):
                continue
            raise TypeError(
                f"{what}: the function returned {type(each).__name__}, expected Tensors"
            )
    return [each if hasattr(each, "shape") else backend.array(each) for each in leaves], rebuild


def seed_of(value, like, what):
    value = value.data if isinstance(value, Traced) and value.level == CONSTANT else value
    if not isinstance(value, Traced) and not backend.is_array(value):
        value = backend.array(value, like.dtype, backend.device_of(plain(like)))
    if value.shape != like.shape:
        raise ValueError(f"{what}: got shape {tuple(value.shape)}, expected {tuple(like.shape)}")
    return value if value.dtype == like.dtype else value.astype(like.dtype)


def pulled(pairs, boxed, level, retain_graph=True):
    """The cotangents of the boxed leaves, from (output, cotangent) pairs: zeros for those that no
    output came from, and none sharing memory with another."""
    found = engine.walk(pairs, level, retain_graph=retain_graph)
    found = engine.separate([found.get(b.node) for b in boxed], [seed for _, seed in pairs])
    return [or_zero(g, b.data) for g, b in zip(found, boxed)]


def or_zero(value, like):
    return backend.zeros(like.shape, plain(like)) if value is None else value


def zeros_like(tree):
    return map_leaves(lambda v: backend.zeros(np.shape(v), as_array(v)), tree)


def as_array(value):
    return plain(value) if hasattr(value, "shape") else backend.array(value)
