"""Functions of functions: derivatives in either mode, and what is built from them.

The transforms take functions of arrays, Tensors, or nested dicts, lists and tuples of them, and
compose in any order and depth. Arrays in, arrays out; any Tensor in, Tensors out; inside, the
function always receives Tensors. A result that a graph outside still follows stays a Tensor.
Mathematically (with J the Jacobian of f): jvp computes J u, vjp computes Jᵀ v.
"""

import functools

import numpy as np

from minigrad import backend, engine, ops
from minigrad.engine import CONSTANT, Traced, box, leaf, new_level, plain


def flatten(tree):
    """The leaves of nested dicts, lists and tuples, in order, and a function that rebuilds it."""
    if isinstance(tree, dict):
        children, make = list(tree.values()), lambda values: type(tree)(zip(tree, values))
    elif isinstance(tree, tuple) and hasattr(tree, "_fields"):
        children, make = list(tree), lambda values: type(tree)(*values)
    elif isinstance(tree, (list, tuple)):
        children, make = list(tree), type(tree)
    elif tree is None:
        return [], lambda leaves: None
    else:
        return [tree], lambda leaves: leaves[0]
    parts = [flatten(child) for child in children]

    def rebuild(leaves):
        leaves, values = list(leaves), []
        for child, build in parts:
            values.append(build(leaves[: len(child)]))
            del leaves[: len(child)]
        return make(values)

    return [each for child, _ in parts for each in child], rebuild


def tree_map(f, tree, *others):
    """``f`` applied to corresponding leaves; the others must have the structure of the first."""
    leaves, rebuild = flatten(tree)
    rest = [_same_structure(other, tree, "tree_map") for other in others]
    return rebuild([f(*each) for each in zip(leaves, *rest)])


def _same_structure(tree, like, what):
    if _structure(tree) != _structure(like):
        raise ValueError(
            f"{what}: the structures differ: got {_structure(tree)}, expected {_structure(like)}"
        )
    return flatten(tree)[0]


def _structure(tree):
    """The tree with a star for each leaf."""
    leaves, rebuild = flatten(tree)
    return rebuild([_Star()] * len(leaves))


class _Star:
    def __eq__(self, other):
        return isinstance(other, _Star)

    def __hash__(self):
        return 0

    def __repr__(self):
        return "*"


def _inner(value, what, where):
    """A leaf of the caller's as what a level holds: an array, or the caller's own Tensor."""
    if isinstance(value, Traced):
        value = value.data if value.level == CONSTANT else value
    elif not backend.is_array(value):
        value = backend.array(value)
    if not backend.is_floating(value.dtype):
        raise TypeError(
            f"{what}: {where} has dtype {value.dtype}; derivatives need floating point, "
            "as in astype('float32') or 1.0 in place of 1"
        )
    return value


def _constant(value):
    """Arrays become Tensors for the function; everything else goes in as it is."""
    return box(value) if backend.is_array(value) else value


def _has_tensor(tree):
    return any(isinstance(each, Traced) for each in flatten(tree)[0])


def _outward(value, tensors):
    """A result for the caller: a bare array unless there were Tensors in, or a graph follows it."""
    if isinstance(value, Traced):
        return value if tensors or value.level != CONSTANT else value.data
    if not backend.is_array(value):
        return value
    if isinstance(value, np.ndarray) and not value.flags.writeable:
        value = value.copy()
    return box(value) if tensors else value


def _lower(value, level):
    """A value without ``level``."""
    return value.data if isinstance(value, Traced) and value.level in (level, CONSTANT) else value


def _tensor_outputs(tree, what):
    leaves, rebuild = flatten(tree)
    for each in leaves:
        if not isinstance(each, Traced) and not backend.is_array(each):
            if isinstance(each, (int, float)):
                continue
            raise TypeError(f"{what}: the function returned {type(each).__name__}, expected Tensors")
    return [each if hasattr(each, "shape") else backend.array(each) for each in leaves], rebuild


def vjp(f, *primals):
    """``(out, pullback)``: the value f(*primals) and the function v -> Jᵀ v.

    The pullback takes a cotangent of the structure and shapes of ``out`` and returns a tuple with
    one cotangent per primal; it may be called any number of times, and be differentiated itself.
    Raises TypeError for primals without derivatives (integers).
    """
    tensors, level = _has_tensor(primals), new_level()
    leaves, rebuild = flatten(primals)
    boxed = [leaf(_inner(v, "vjp", f"input {i}"), level) for i, v in enumerate(leaves)]
    outputs, rebuild_out = _tensor_outputs(f(*rebuild(boxed)), "vjp")
    out = rebuild_out([_outward(_lower(o, level), tensors) for o in outputs])

    def pullback(cotangent):
        seeds = _same_structure(cotangent, out, "pullback")
        pairs = [(o, _seed(v, o, "pullback")) for o, v in zip(outputs, seeds)]
        found = engine.walk(pairs, level)
        grads = [_or_zero(found.get(b.node), b.data) for b in boxed]
        as_tensors = tensors or _has_tensor(cotangent)
        return rebuild([_outward(g, as_tensors) for g in grads])

    return out, pullback


def _seed(value, like, what):
    value = value.data if isinstance(value, Traced) and value.level == CONSTANT else value
    if not isinstance(value, Traced) and not backend.is_array(value):
        value = backend.array(value, like.dtype)
    if value.shape != like.shape:
        raise ValueError(f"{what}: got shape {tuple(value.shape)}, expected {tuple(like.shape)}")
    return value if value.dtype == like.dtype else value.astype(like.dtype)


def _or_zero(value, like):
    return backend.zeros(like.shape, plain(like)) if value is None else value


def jvp(f, primals, tangents):
    """``(out, tangent)``: the value f(*primals) and J u, in one forward pass.

    ``primals`` and ``tangents`` are tuples of the same structure and shapes; a tangent of None is
    zero. Raises ValueError where they do not fit.
    """
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise TypeError(
            "jvp: primals and tangents are tuples with one entry per argument, as in "
            f"jvp(f, (x,), (u,)); got {type(primals).__name__} and {type(tangents).__name__}"
        )
    tensors, level = _has_tensor((primals, tangents)), new_level()
    leaves, rebuild = flatten(tuple(primals))
    directions = _same_structure(tuple(tangents), tuple(primals), "jvp: tangents")
    boxed = []
    for i, (value, direction) in enumerate(zip(leaves, directions)):
        value = _inner(value, "jvp", f"primal {i}")
        boxed.append(box(value, level, None, _seed(direction, value, f"jvp: tangent {i}")))
    outputs, rebuild_out = _tensor_outputs(f(*rebuild(boxed)), "jvp")
    values = [_outward(_lower(o, level), tensors) for o in outputs]
    moved = []
    for o in outputs:
        at_level = isinstance(o, Traced) and o.level == level
        moved.append(_outward(o.tangent if at_level else _or_zero(None, o), tensors))
    return rebuild_out(values), rebuild_out(moved)


def linearize(f, *primals):
    """``(out, f_jvp)``: the value f(*primals) and the linear function u -> J u, which does not call
    f again. ``f_jvp(*tangents)`` takes one tangent per primal.

    The pullback v -> Jᵀ v is linear, so its own pullback is u -> J u: transposing twice.
    """
    tensors = _has_tensor(primals)
    out, pullback = vjp(f, *primals)
    leaves, rebuild = flatten(out)
    zeros = rebuild([backend.zeros(o.shape, plain(o)) for o in leaves])
    _, pullback_of_pullback = vjp(pullback, zeros)

    def f_jvp(*tangents):
        _same_structure(tangents, primals, "linearize: tangents")
        (tangent,) = pullback_of_pullback(tangents)
        as_tensors = tensors or _has_tensor(tangents)
        moved, build = flatten(tangent)
        return build([_outward(_inner(t, "linearize", "tangent"), as_tensors) for t in moved])

    return out, f_jvp


def value_and_grad(f, argnums=0):
    """A function like ``f`` that returns ``(f(*args), gradient)``.

    ``argnums`` names the positional arguments to differentiate: an integer for one gradient in the
    structure of that argument, or a tuple for a tuple of them. f must return a single number.
    """

    @functools.wraps(f, updated=())
    def with_gradient(*args, **kwargs):
        single = isinstance(argnums, int)
        chosen = _positions(argnums, len(args))
        tensors, level = _has_tensor((args, kwargs)), new_level()
        leaves, rebuild = flatten([args[i] for i in chosen])
        where = f"argument {argnums}" if single else f"an argument of {argnums}"
        boxed = [leaf(_inner(v, "grad", where), level) for v in leaves]
        full = [_map_leaves(_constant, a) for a in args]
        for i, value in zip(chosen, rebuild(boxed)):
            full[i] = value
        kwargs = {k: _map_leaves(_constant, v) for k, v in kwargs.items()}
        out = f(*full, **kwargs)
        _check_number(out)
        grads = {}
        if isinstance(out, Traced) and out.level == level:
            one = backend.ones(out.shape, plain(out))
            grads = engine.walk([(out, one)], level, retain_graph=False)
        grads = [_or_zero(grads.get(b.node), b.data) for b in boxed]
        gradient = rebuild([_outward(g, tensors) for g in grads])
        return _outward(_lower(out, level), tensors), gradient[0] if single else tuple(gradient)

    return with_gradient


def _map_leaves(f, tree):
    leaves, rebuild = flatten(tree)
    return rebuild([f(each) for each in leaves])


def _positions(argnums, count):
    chosen = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for i in chosen:
        if not -count <= i < count:
            raise ValueError(f"grad: argnums names argument {i}, but {count} were given")
    return [i % count for i in chosen]


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


def jacobian(f, argnums=0, mode="reverse"):
    """A function like ``f`` that returns its Jacobian: shape ``out.shape + in.shape`` for arrays,
    nested (outputs outside, inputs inside) for structures.

    Reverse mode walks once per output element, forward mode once per input element. ``argnums`` as
    in ``grad``: a tuple adds a tuple inside the outputs' structure.
    """
    if mode not in ("reverse", "forward"):
        raise ValueError(f'jacobian: mode is {mode!r}; expected "reverse" or "forward"')

    @functools.wraps(f, updated=())
    def of(*args, **kwargs):
        single = isinstance(argnums, int)
        chosen = _positions(argnums, len(args))

        def along(*primals):
            full = [_map_leaves(_constant, a) for a in args]
            for i, value in zip(chosen, primals):
                full[i] = value
            return f(*full, **{k: _map_leaves(_constant, v) for k, v in kwargs.items()})

        primals = tuple(args[i] for i in chosen)
        blocks, out = (_by_rows if mode == "reverse" else _by_columns)(along, primals)
        _, rebuild_in = flatten(primals)
        _, rebuild_out = flatten(out)
        rows = [rebuild_in(row) for row in blocks]
        return rebuild_out([row[0] if single else row for row in rows])

    return of


def _basis(like):
    """Each array of the shape of ``like`` with a single 1."""
    like = plain(like) if hasattr(like, "shape") else backend.array(like)
    for i in range(like.size):
        flat = backend.zeros((like.size,), like)
        flat[i] = 1
        yield flat.reshape(like.shape)


def _zeros_but(leaves, position, value):
    return [
        value if i == position else backend.zeros(np.shape(v), _array(v))
        for i, v in enumerate(leaves)
    ]


def _array(value):
    return plain(value) if hasattr(value, "shape") else backend.array(value)


def _by_rows(f, primals):
    """Jacobian blocks [output][input] from one pullback per output element."""
    out, pullback = vjp(f, *primals)
    outputs, rebuild = flatten(out)
    inputs = flatten(primals)[0]
    blocks = []
    for k, o in enumerate(outputs):
        rows = [flatten(pullback(rebuild(_zeros_but(outputs, k, e))))[0] for e in _basis(o)]
        blocks.append(
            [
                _stacked([row[j] for row in rows], np.shape(o) + np.shape(x), _array(x))
                for j, x in enumerate(inputs)
            ]
        )
    return blocks, out


def _by_columns(f, primals):
    """Jacobian blocks [output][input] from one pushforward per input element."""
    inputs, rebuild = flatten(primals)
    inputs = [x if hasattr(x, "shape") else backend.array(x) for x in inputs]
    out, columns = None, []
    for j, x in enumerate(inputs):
        columns.append([])
        for e in _basis(x):
            out, moved = jvp(f, rebuild(inputs), rebuild(_zeros_but(inputs, j, e)))
            columns[j].append(flatten(moved)[0])
    if out is None:
        out = vjp(f, *primals)[0]
    blocks = []
    for k, o in enumerate(flatten(out)[0]):
        row = []
        for x, column in zip(inputs, columns):
            block = _stacked([c[k] for c in column], np.shape(x) + np.shape(o), _array(x))
            n = len(np.shape(x))
            order = (*range(n, block.ndim), *range(n))
            row.append(ops.transpose(block, axes=order) if block.ndim else block)
        blocks.append(row)
    return blocks, out


def _stacked(pieces, shape, like):
    if not pieces:
        return backend.zeros(shape, like)
    return ops.reshape(ops.stack(pieces), shape=shape)


def hessian(f, argnums=0):
    """A function like ``f`` that returns its matrix of second derivatives, forward over reverse:
    shape ``in.shape + in.shape`` for an array argument."""
    return jacobian(grad(f, argnums), argnums, mode="forward")


def hvp(f, primals, tangents):
    """The Hessian of ``f`` at ``primals`` times ``tangents``, in the primals' structure, without the
    Hessian: one forward-mode pass over the gradient (Pearlmutter, 1994)."""
    gradient = grad(f, argnums=tuple(range(len(primals))))
    return jvp(lambda *args: gradient(*args), primals, tangents)[1]


def checkpoint(f):
    """``f`` with less memory: its inner values are dropped and recomputed when backward needs them
    (Chen et al., 2016), with the same random draws (dropout) as the first time."""

    @functools.wraps(f, updated=())
    def checkpointed(*args, **kwargs):
        region = engine.Region(lambda: f(*args, **kwargs), backend.random_state())
        return region.record()

    return checkpointed


def check_grads(f, args, order=2, modes=("forward", "reverse"), tolerance=None, seed=0):
    """Compare derivatives of ``f`` at ``args`` with finite differences along a random direction,
    to the given order, in the given modes. Returns None; raises AssertionError with both numbers.

    Args are arrays (float64 for meaningful digits) or structures of them. ``tolerance`` is relative
    and defaults to 1e-6 for float64.
    """
    args = tuple(args)
    leaves = [_array(each) for each in flatten(args)[0]]
    if any(each.dtype != np.float64 for each in leaves) and tolerance is None:
        raise TypeError("check_grads: finite differences need float64, or a tolerance of your own")
    _check(f, args, order, tuple(modes), tolerance or 1e-6, np.random.default_rng(seed), "f")


def _check(f, args, order, modes, tolerance, random, name):
    leaves, rebuild = flatten(args)
    leaves = [_array(each) for each in leaves]
    args = rebuild(leaves)
    direction = rebuild([random.standard_normal(each.shape).astype(each.dtype) for each in leaves])
    out, slope = jvp(f, args, direction)
    weights = tree_map(lambda o: random.standard_normal(np.shape(o)).astype(o.dtype), out)
    if "forward" in modes:
        wanted = _difference(f, args, direction)
        _close(_inner_product(weights, slope), _inner_product(weights, wanted), f"jvp of {name}", tolerance)
    if "reverse" in modes:
        wanted = _difference(f, args, direction)
        pulled = vjp(f, *args)[1](weights)
        _close(_inner_product(pulled, direction), _inner_product(weights, wanted), f"vjp of {name}", tolerance)
    if order > 1:
        if "forward" in modes:
            pushed = lambda *a: jvp(f, a, direction)[1]  # noqa: E731
            _check(pushed, args, order - 1, modes, tolerance * 10, random, f"jvp of {name}")
        if "reverse" in modes:
            pulled_at = lambda *a: vjp(f, *a)[1](weights)  # noqa: E731
            _check(pulled_at, args, order - 1, modes, tolerance * 10, random, f"vjp of {name}")


def _difference(f, args, direction, step=None):
    """(f(x + hu) - f(x - hu)) / 2h, improved once by Richardson's extrapolation."""
    step = step or 1e-3 * (1 + max((float(np.abs(_array(a)).max(initial=0)) for a in flatten(args)[0]), default=0)) ** 0.5

    def central(h):
        ahead = _values(f, tree_map(lambda a, u: a + h * u, args, direction))
        behind = _values(f, tree_map(lambda a, u: a - h * u, args, direction))
        return tree_map(lambda p, m: (p - m) / (2 * h), ahead, behind)

    coarse, fine = central(step), central(step / 2)
    return tree_map(lambda c, d: (4 * d - c) / 3, coarse, fine)


def _values(f, args):
    return tree_map(lambda o: np.asarray(plain(o)), f(*_map_leaves(_constant, args)))


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
