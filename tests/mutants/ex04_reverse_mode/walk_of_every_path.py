"""the walk passes every path, but each node must hand on its shares once"""


def backward(graph, values, output):
    grads, waiting = {}, [(output, 1.0)]
    while waiting:
        node, g = waiting.pop(0)
        grads[node] = grads.get(node, 0.0) + g
        operation, parents = graph[node]
        xs = [values[parent] for parent in parents]
        for parent, x, share in zip(parents, xs, shares(operation, g, *xs)):
            waiting.append((parent, unbroadcast(share, np.shape(x))))
    return grads
