"""Gradients of a single number, and recomputation in place of memory."""

import functools

from minigrad import backend, engine
from minigrad.engine import Traced, leaf, new_level, plain
from minigrad.transforms.crossing import constant, has_tensor, inner, lower, outward, pulled
from minigrad.transforms.trees import flatten, map_leaves


def value_and_grad(f, argnums=0):
    """A function like ``f`` that returns ``(f(*args), gradient)``.

    ``argnums`` names the positional arguments to differentiate: an integer for one gradient in the
    structure of that argument, or a tuple for a tuple of them. f must return a single number.
    """

    @functools.wraps(f, updated=())
    def with_gradient(*args, **kwargs):
        single = isinstance(argnums, int)
        chosen = positions(argnums, len(args))
        leaves, rebuild = flatten([args[i] for i in chosen])
        others = [a for i, a in enumerate(args) if i not in chosen]
        tensors = has_tensor(leaves) or has_tensor((others, kwargs))
        level = new_level()
        where = f"argument {argnums}" if single else f"an argument of {argnums}"
        boxed = [leaf(inner(v, "grad", where), level) for v in leaves]
        out = call_with(f, args, kwargs, chosen, rebuild(boxed))
        _check_number(out)
        pairs = [(out, backend.ones(out.shape, plain(out)))] if isinstance(out, Traced) else []
        grads = pulled(pairs, boxed, level, retain_graph=False)
        gradient = rebuild([outward(g, tensors) for g in grads])
        return outward(lower(out, level), tensors), gradient[0] if single else tuple(gradient)

    return with_gradient


def call_with(f, args, kwargs, chosen, values):
    """f(*args, **kwargs) with ``values`` at the chosen positions, other arrays as Tensors."""
    full = [None if i in chosen else map_leaves(constant, a) for i, a in enumerate(args)]
    for i, value in zip(chosen, values):
        full[i] = value
    return f(*full, **map_leaves(constant, kwargs))


def positions(argnums, count):
    chosen = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for i in chosen:
        if not -count <= i < count:
            raise ValueError(f"grad: argnums names argument {i}, but {count} were given")
    chosen = [i % count for i in chosen]
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"grad: argnums {argnums} names an argument twice")
    return chosen


def _check_number(out):
    if not isinstance(out, Traced):
        if isinstance(out, (int, float)) or backend.is_array(out):
            return
        raise TypeError(f"grad: the function returned {type(out).__name__}, expected one number")
    if out.size != 1:
        raise ValueError(
            f"grad: the function returned shape {tuple(out.shape)}; only a single number has a "
            "gradient: reduce it with sum() or mean(), or use jacobian or vjp"
        )
    if not backend.is_floating(out.dtype):
        raise TypeError(f"grad: the function returned dtype {out.dtype}, expected floating point")


def grad(f, argnums=0):
    """A function like ``f`` that returns the gradient of its single number; see value_and_grad."""
    both = value_and_grad(f, argnums)

    @functools.wraps(f, updated=())
    def gradient(*args, **kwargs):
        return both(*args, **kwargs)[1]

    return gradient


def checkpoint(f):
    """``f`` with less memory: its inner values are dropped and recomputed when backward needs them
    (Chen et al., 2016), with the same random draws (dropout) as the first time."""

    @functools.wraps(f, updated=())
    def checkpointed(*args, **kwargs):
        tensors = has_tensor((args, kwargs))
        inside, named = map_leaves(constant, args), map_leaves(constant, kwargs)
        region = engine.Region(lambda: f(*inside, **named), backend.random_state())
        return map_leaves(lambda out: outward(out, tensors), region.record())

    return checkpointed
