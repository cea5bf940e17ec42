"""Derivatives against finite differences."""

import numpy as np

from minigrad.engine import plain
from minigrad.transforms.crossing import as_array, constant
from minigrad.transforms.modes import jvp, vjp
from minigrad.transforms.trees import flatten, map_leaves, tree_map


def check_grads(f, args, order=2, modes=("forward", "reverse"), tolerance=None, seed=0):
    """Compare derivatives of ``f`` at ``args`` with finite differences along a random direction,
    to the given order, in the given modes. Returns None; raises AssertionError with both numbers.

    Args are arrays (float64 for meaningful digits) or structures of them. ``tolerance`` is relative
    and defaults to 1e-6 for float64.
    """
    if unknown := set(modes) - {"forward", "reverse"}:
        raise ValueError(f"check_grads: unknown mode {sorted(unknown)[0]!r}; forward or reverse")
    args = tuple(args)
    leaves = [as_array(each) for each in flatten(args)[0]]
    if any(each.dtype != np.float64 for each in leaves) and tolerance is None:
        raise TypeError("check_grads: finite differences need float64, or a tolerance of your own")
    _check(f, args, order, tuple(modes), tolerance or 1e-6, np.random.default_rng(seed), "f")


def _check(f, args, order, modes, tolerance, random, name):
    leaves, rebuild = flatten(args)
    leaves = [as_array(each) for each in leaves]
    args = rebuild(leaves)
    direction = rebuild([random.standard_normal(each.shape).astype(each.dtype) for each in leaves])
    out, slope = jvp(f, args, direction)
    weights = tree_map(lambda o: random.standard_normal(np.shape(o)).astype(o.dtype), out)
    wanted = _inner_product(weights, _difference(f, args, direction))

    def pushed(*args):
        return jvp(f, args, direction)[1]

    def pulled(*args):
        return vjp(f, *args)[1](weights)

    if "forward" in modes:
        _close(_inner_product(weights, slope), wanted, f"jvp of {name}", tolerance)
    if "reverse" in modes:
        _close(_inner_product(pulled(*args), direction), wanted, f"vjp of {name}", tolerance)
    for mode, derivative in (("forward", pushed), ("reverse", pulled)):
        if order > 1 and mode in modes:
            name_of = f"{'jvp' if mode == 'forward' else 'vjp'} of {name}"
            _check(derivative, args, order - 1, modes, tolerance * 10, random, name_of)


def _difference(f, args, direction):
    """(f(x + hu) - f(x - hu)) / 2h, improved once by Richardson's extrapolation."""
    largest = max((np.abs(a).max(initial=0.0) for a in flatten(args)[0]), default=0.0)
    step = 1e-3 * (1 + float(largest)) ** 0.5

    def central(h):
        ahead = _values(f, tree_map(lambda a, u: a + h * u, args, direction))
        behind = _values(f, tree_map(lambda a, u: a - h * u, args, direction))
        return tree_map(lambda p, m: (p - m) / (2 * h), ahead, behind)

    coarse, fine = central(step), central(step / 2)
    return tree_map(lambda c, d: (4 * d - c) / 3, coarse, fine)


def _values(f, args):
    return tree_map(lambda o: np.asarray(plain(o)), f(*map_leaves(constant, args)))


def _inner_product(a, b):
    total = 0.0
    for x, y in zip(flatten(a)[0], flatten(b)[0]):
        total += float(np.sum(np.asarray(plain(x)) * np.asarray(plain(y))))
    return total


def _close(got, wanted, what, tolerance):
    if not abs(got - wanted) <= tolerance * (1 + abs(got) + abs(wanted)):
        raise AssertionError(
            f"check_grads: {what} gives {got:.10g}, finite differences give {wanted:.10g}"
        )
