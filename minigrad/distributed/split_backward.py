"""Backward in two halves: first the gradient of the input, later those of the weights.

For Y = XW the two are products of their own, dX = dY Wᵀ and dW = Xᵀ dY. Somebody waits for dX: the
pipeline's stage before. dW can wait until there is nothing better to do (Qi et al. 2024).
"""

import numpy as np

from minigrad import engine
from minigrad.engine.walk import fitted, reachable, recovered


def input_gradient(out, gradient=None, x=None):
    """Walk from ``out`` back, but leave out all leaves beside x: ``(dx, left)``.

    Arguments: out, a Tensor; gradient, an array of its shape (a loss needs none); x, the leaf whose
    gradient is wanted, or None. Returns dx, an array (None without x), and what
    ``weight_gradients`` needs. The graph cannot be walked again.
    """
    if out.node is None:  # all behind it is frozen
        return None, []
    grads, left = {out.node: np.ones_like(out.data) if gradient is None else gradient}, []
    wanted = None if x is None else x.node
    for node in reachable(grads):
        g = grads.get(node)
        if g is None or node.op is None:
            continue
        del grads[node]
        now = [
            p if p is not None and (p.op is not None or p is wanted) else None for p in node.parents
        ]
        leaves = [p if p is not None and n is None else None for p, n in zip(node.parents, now)]
        env = node.env if type(node.env) is dict else recovered(node)
        node.env = None
        if any(leaves):
            left.append((node.op, leaves, env, node.params, g))
        if any(now):
            _add(grads, now, node.op.pull(now, env, node.params, g))
    return grads.get(wanted), left


def weight_gradients(left):
    """Do what ``input_gradient`` left: add to ``grad`` of every leaf, as ``backward()`` does."""
    grads = {}
    for op, leaves, env, params, g in left:
        _add(grads, leaves, op.pull(leaves, env, params, g))
    for leaf, g in zip(grads, engine.separate(grads.values(), seeds=())):
        if (tensor := leaf.tensor and leaf.tensor()) is not None:
            tensor.grad = engine.box(g) if tensor.grad is None else tensor.grad + g


def _add(grads, parents, cotangents):
    for parent, g in zip(parents, cotangents):
        if parent is not None and g is not None:
            g = fitted(g, parent)
            grads[parent] = grads[parent] + g if parent in grads else g
