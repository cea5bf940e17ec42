"""Whole Jacobians and Hessians, and Hessian-vector products."""

import functools

import numpy as np

from minigrad import backend, ops
from minigrad.transforms.crossing import as_array
from minigrad.transforms.gradient import call_with, grad, positions
from minigrad.transforms.modes import jvp, vjp
from minigrad.transforms.trees import flatten


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
        chosen = positions(argnums, len(args))

        def along(*primals):
            return call_with(f, args, kwargs, chosen, primals)

        primals = tuple(args[i] for i in chosen)
        blocks, out = (_by_rows if mode == "reverse" else _by_columns)(along, primals)
        _, rebuild_in = flatten(primals)
        _, rebuild_out = flatten(out)
        rows = [rebuild_in(row) for row in blocks]
        return rebuild_out([row[0] if single else row for row in rows])

    return of


def _basis(like):
    """Each array of the shape of ``like`` with a single 1."""
    like = as_array(like)
    for i in range(like.size):
        flat = backend.zeros((like.size,), like)
        flat[i] = 1
        yield flat.reshape(like.shape)


def _zeros_but(leaves, position, value):
    return [
        value if i == position else backend.zeros(np.shape(v), as_array(v))
        for i, v in enumerate(leaves)
    ]


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
                _stacked([row[j] for row in rows], np.shape(o) + np.shape(x), as_array(x))
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
            block = _stacked([c[k] for c in column], np.shape(x) + np.shape(o), as_array(x))
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
    """The Hessian of ``f`` at ``primals`` times ``tangents``, a tuple like ``primals``, without the
    Hessian: one forward-mode pass over the gradient (Pearlmutter, 1994)."""
    gradient = grad(f, argnums=tuple(range(len(primals))))
    return jvp(gradient, primals, tangents)[1]
