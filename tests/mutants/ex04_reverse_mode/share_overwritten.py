"""a later share overwrites an earlier one, but shares must add up"""


def backward(graph, values, output):
    grads = {output: 1.0}
    for node in reversed(topological_order(graph, output)):
        operation, parents = graph[node]
        xs = [values[parent] for parent in parents]
        for parent, x, share in zip(parents, xs, shares(operation, grads[node], *xs)):
            grads[parent] = unbroadcast(share, np.shape(x))
    return grads
