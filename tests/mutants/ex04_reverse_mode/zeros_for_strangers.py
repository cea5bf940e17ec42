"""nodes that the output does not depend on are there, with zero"""

_backward = backward


def backward(graph, values, output):
    grads = _backward(graph, values, output)
    return {node: grads.get(node, 0.0) for node in graph}
