"""Reverse mode: from outputs back to leaves, each node once."""

import operator

from minigrad.engine.primitive import describe, explainable, finite, restated
from minigrad.engine.state import _state
from minigrad.engine.traced import Traced, box, plain, root, wrote


def walk(outputs, level, create_graph=False, retain_graph=True):
    """Reverse mode: from (output, cotangent) pairs back to the leaves of ``level``.

    Returns {leaf node: cotangent}. Nodes are visited in the reverse order of their creation, which
    is a topological order, so each cotangent is complete when its node is reached. With
    ``create_graph`` the rules see values of this same level and so record a graph themselves.

    In ``state(on_leaf=f)``, f(tensor, cotangent) is called for a tensor's leaf as soon as its
    cotangent is complete, while others are still to come; what f returns True for is f's.
    """
    grads, owned, leaves = {}, set(), {}
    around = _state.get()
    anomaly = around.anomaly
    for out, g in outputs:
        if isinstance(out, Traced) and out.level == level:
            _accumulate(grads, owned, out.node, g)
    nodes = reachable(grads)
    completed = _completed(nodes) if around.on_leaf is not None else {}
    for node in nodes:
        g = grads.pop(node, None)
        if g is None:
            continue
        if node.op is None:
            leaves[node] = g
            continue
        env = node.env
        if type(env) is not dict:
            env = recovered(node)
        if node.clock != wrote.clock:
            _check_unwritten(node)
        if create_graph:
            env, g = _as_traced(node, level), g if isinstance(g, Traced) else box(g)
        try:
            cotangents = node.op.pull(node.parents, env, node.params, g)
        except explainable as error:
            raise restated(error, f"backward of {node.op.name}: {error}") from error
        if anomaly:
            _check_finite(node, cotangents, g)
        for parent, cotangent in zip(node.parents, cotangents):
            if parent is None or cotangent is None:
                continue
            if cotangent.shape != parent.shape or cotangent.dtype is not parent.dtype:
                cotangent = fitted(cotangent, parent)
            _accumulate(grads, owned, parent, cotangent)
        if not retain_graph:
            node.env = None
        if completed:
            _hand_over(completed.get(node, ()), grads, around.on_leaf)
    return leaves


def _completed(nodes):
    """{node: the leaves whose cotangents it completes}, for nodes in the order of their visit."""
    last = {}
    for node in nodes:
        for parent in node.parents:
            if parent is not None and parent.op is None:
                last[parent] = node
    completed = {}
    for leaf, node in last.items():
        completed.setdefault(node, []).append(leaf)
    return completed


def _hand_over(leaves, grads, on_leaf):
    """Offer complete cotangents; those that are taken are not the walk's any more."""
    for leaf in leaves:
        tensor = leaf.tensor and leaf.tensor()
        if tensor is not None and leaf in grads and on_leaf(tensor, grads[leaf]):
            del grads[leaf]


def fitted(cotangent, parent):
    """The cotangent in the shape and dtype of the value it belongs to."""
    if cotangent.shape != parent.shape:
        cotangent = unbroadcast(cotangent, parent.shape)
    return cotangent if cotangent.dtype == parent.dtype else cotangent.astype(parent.dtype)


def separate(cotangents, seeds):
    """The cotangents as a caller may have them: writeable, none sharing memory with another."""
    taken, own = {id(root(plain(seed))) for seed in seeds}, []
    for g in cotangents:
        if g is not None and not isinstance(g, Traced):
            memory = id(root(g))
            if memory in taken or not getattr(g.flags, "writeable", True):
                g = g.copy()
                memory = id(g)
            taken.add(memory)
        own.append(g)
    return own


def reachable(grads):
    """All nodes behind the given ones, latest first."""
    seen = set(grads)
    waiting = list(seen)
    while waiting:
        for parent in waiting.pop().parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return sorted(seen, key=_order, reverse=True)


_order = operator.attrgetter("order")


def _accumulate(grads, owned, node, g):
    """Add ``g`` to the node's cotangent, in place once the sum is the walk's own array."""
    before = grads.get(node)
    if before is None:
        grads[node] = g
    elif node in owned and not isinstance(g, Traced):
        before += g
        grads[node] = before
    else:
        grads[node] = before + g
        if not isinstance(grads[node], Traced):
            owned.add(node)


def _check_finite(node, cotangents, g):
    for (name, _), cotangent in zip(node.op.labelled(node.parents), cotangents):
        if cotangent is not None and not finite(plain(cotangent)):
            already = "" if finite(plain(g)) else " (already not finite)"
            raise FloatingPointError(
                f"backward of {node.op.name}: NaN or infinity in the gradient of {name}, from "
                f"an output gradient {describe(g)}{already}"
            )


def _as_traced(node, level):
    """The node's values as values of its own level, for rules that are to record a graph."""
    env = dict(node.env)
    if "out" in env:
        env["out"] = box(env["out"], level, node)
    if node.op.arity is None:
        pairs = zip(env.get(node.op.names[0], ()), node.parents)
        env[node.op.names[0]] = [v if p is None else box(v, level, p) for v, p in pairs]
        return env
    for name, parent in zip(node.op.names, node.parents):
        if parent is not None and name in env:
            env[name] = box(env[name], level, parent)
    return env


def recovered(node):
    """The values of a node without: recomputed (checkpoint), unless the graph was freed."""
    if node.env is None:
        raise RuntimeError(
            f"backward: the graph was already walked and its values freed (at op {node.op.name}); "
            "call the first backward with retain_graph=True to walk it twice"
        )
    node.env.recompute()
    return node.env


def _check_unwritten(node):
    for name, value in (*node.env.items(), *node.params.items()):  # indices are parameters
        values = value if isinstance(value, (tuple, list)) else (value,)
        for each in values:
            if wrote.since(node.clock, plain(each)):
                raise RuntimeError(
                    f"backward of {node.op.name}: {name} {describe(each)} was changed in place "
                    "after it was saved; change a copy, or walk the graph before writing"
                )


def unbroadcast(g, shape):
    """Sum ``g`` over the axes along which ``shape`` was broadcast to its shape."""
    extra = g.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(
        i + extra for i, size in enumerate(shape) if size == 1 and g.shape[i + extra] != 1
    )
    if axes:
        g = g.sum(axis=axes, keepdims=True)
    return g.reshape(shape) if extra else g
