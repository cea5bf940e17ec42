"""The graph behind a Tensor as plain data, for ``viz.computation_graph`` to draw."""

import numpy as np

from minigrad.engine import Traced, plain, unbroadcast
from minigrad.viz import Node

SYMBOLS = {
    "add": "+",
    "subtract": "−",
    "multiply": "×",
    "divide": "÷",
    "matmul": "@",
    "negative": "−( )",
    "square": "( )²",
    "sqrt": "√",
    "power": "( )^",
}


def graph_of(out, names=None, inputs=()):
    """The calls that made a Tensor, as (nodes, edges) for ``viz.computation_graph``.

    Args:
        out: the Tensor whose history is wanted, as long as it has one.
        names: name -> Tensor, for labels; other values are ignored, so ``locals()`` will do.
        inputs: names of the leaves to draw as inputs; other leaves of the tape are parameters.

    Nodes are in the order of the calls. They hold the op, the value (the number where there is
    one, else the shape), and the derivative of ``out`` with respect to them: of every node as long
    as the graph has its values (before ``backward``, or with ``retain_graph=True``), afterwards of
    the leaves that have a ``grad``. Values that neither a rule nor a name kept are left out, and
    so are constants. Raises TypeError for what is no Tensor, ValueError for one without history.

    >>> import minigrad as mg
    >>> x = mg.tensor(3.0, requires_grad=True)
    >>> nodes, edges = graph_of(x * x, {"x": x}, inputs=["x"])
    >>> [(node.label, node.value, node.gradient) for node in nodes]
    [('x', '3', '6'), ('×', '9', '1')]
    >>> edges
    [(0, 1), (0, 1)]
    """
    if not isinstance(out, Traced):
        raise TypeError(f"graph_of: expected a Tensor, got {type(out).__name__}")
    if out.node is None:
        raise ValueError("graph_of: this tensor came from no tensor with requires_grad")
    calls = _history(out.node)
    named = {name: t for name, t in (names or {}).items() if isinstance(t, Traced)}
    labels = {t.node: name for name, t in reversed(named.items()) if t.node is not None}
    inputs = {inputs} if isinstance(inputs, str) else set(inputs)
    values = _values(calls, out, named)
    gradients = _gradients(calls, out)
    numbers = {node: i for i, node in enumerate(calls)}
    nodes, edges = [], []
    for node, number in numbers.items():
        for i, parent in enumerate(node.parents):
            name, value = _operand(node, i)
            if parent is not None:
                edges.append((numbers[parent], number))
            elif value is not None:
                constant = (number, name)
                label = next((n for n, t in named.items() if plain(t) is value), name)
                nodes.append(Node(constant, label, "input", _text(value)))
                edges.append((constant, number))
        label = _label(node, labels.get(node))
        kind = _kind(node, out, labels.get(node) in inputs)
        nodes.append(Node(number, label, kind, _text(values[node]), _text(gradients.get(node))))
    return nodes, edges


def _history(last):
    """All nodes behind one, and itself, in the order of the calls."""
    seen, waiting = {last}, [last]
    while waiting:
        for parent in waiting.pop().parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return sorted(seen, key=lambda node: node.order)


def _operand(node, i):
    """(name, plain value) of a call's argument: None if there was none, or it was not kept."""
    env = node.env if isinstance(node.env, dict) else {}
    if node.op.arity is None:
        name = node.op.names[0]
        return f"{name}[{i}]", plain(env[name][i]) if name in env else None
    name = node.op.names[i]
    return name, plain(env.get(name))


def _leaf_tensor(node):
    """The Tensor of a leaf of the tape, if it is still there."""
    reference = node.tensor if node.op is None else None
    return reference and reference()


def _values(calls, out, named):
    """node -> its plain value: kept by itself, by who used it, by a name; or computed again."""
    values = dict.fromkeys(calls)
    for node in calls:
        if (tensor := _leaf_tensor(node)) is not None:
            values[node] = plain(tensor)
        if isinstance(node.env, dict) and "out" in node.env:
            values[node] = plain(node.env["out"])
        for i, parent in enumerate(node.parents):
            if parent is not None and (value := _operand(node, i)[1]) is not None:
                values[parent] = value
    for tensor in [*named.values(), out]:
        if tensor.node in values:
            values[tensor.node] = plain(tensor)
    for node in calls:
        if values[node] is None and node.op is not None:
            values[node] = _again(node, values)
    return values


def _again(node, values):
    """The value of a call computed once more, if all that it was given is known."""
    given = [
        _operand(node, i)[1] if parent is None else values[parent]
        for i, parent in enumerate(node.parents)
    ]
    whole = isinstance(node.env, dict) and "kernel" in node.env  # then None is what was given
    if not whole and any(value is None for value in given):
        return None
    return node.op(*given, **node.params)


def _gradients(calls, out):
    """node -> derivative of ``out`` with respect to it; of leaves alone, once values are freed."""
    kept = all(node.op is None or isinstance(node.env, dict) for node in calls)
    if not kept or plain(out).size != 1:
        tensors = {node: _leaf_tensor(node) for node in calls}
        grads = {node: tensor.grad for node, tensor in tensors.items() if tensor is not None}
        return {node: plain(grad) for node, grad in grads.items() if grad is not None}
    grads = {out.node: np.ones_like(plain(out))}
    for node in reversed(calls):
        if node.op is None or node not in grads:
            continue
        found = node.op.pull(node.parents, node.env, node.params, grads[node])
        for parent, g in zip(node.parents, found):
            if parent is not None and g is not None:
                g = unbroadcast(g, parent.shape)
                grads[parent] = g if parent not in grads else grads[parent] + g
    return {node: plain(g) for node, g in grads.items()}


def _text(value):
    """A number as text to four digits, of an array its shape."""
    if value is None:
        return None
    if np.size(value) == 1 and np.ndim(value) == 0:
        return f"{value.item() if hasattr(value, 'item') else value:.4g}"
    return f"({', '.join(map(str, np.shape(value)))}{',' if np.ndim(value) == 1 else ''})"


def _kind(node, out, is_input):
    if node is out.node:
        return "output"
    if node.op is not None:
        return "op"
    return "input" if is_input or node.tensor is None else "parameter"


def _label(node, name):
    if node.op is None:
        return name or "leaf"
    label = SYMBOLS.get(node.op.name, node.op.name)
    if node.op.name == "power_of":
        exponent = node.params["exponent"]
        label = "( )²" if exponent == 2 else f"( )^{exponent:g}"
    return f"{name} = {label}" if name else label
