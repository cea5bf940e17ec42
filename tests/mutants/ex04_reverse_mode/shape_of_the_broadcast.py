"""a share is handed on in the shape that broadcasting made, not in the parent's"""


def backward(graph, values, output):
    grads = {output: 1.0}
    for node in reversed(topological_order(graph, output)):
        operation, parents = graph[node]
        xs = [values[parent] for parent in parents]
        for parent, share in zip(parents, shares(operation, grads[node], *xs)):
            grads[parent] = grads.get(parent, 0.0) + share
    return grads
