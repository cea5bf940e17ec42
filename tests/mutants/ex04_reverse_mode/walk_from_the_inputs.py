"""the walk begins at the inputs: it must begin at the output"""


def backward(graph, values, output):
    order = topological_order(graph, output)
    grads = {**dict.fromkeys(order, 0.0), output: 1.0}
    for node in order:
        operation, parents = graph[node]
        xs = [values[parent] for parent in parents]
        for parent, x, share in zip(parents, xs, shares(operation, grads[node], *xs)):
            grads[parent] = grads[parent] + unbroadcast(share, np.shape(x))
    return grads
