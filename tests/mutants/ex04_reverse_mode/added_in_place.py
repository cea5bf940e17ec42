"""a share is added in place, into an array that other nodes hold too"""


def backward(graph, values, output):
    grads = {output: 1.0}
    for node in reversed(topological_order(graph, output)):
        operation, parents = graph[node]
        xs = [values[parent] for parent in parents]
        for parent, x, share in zip(parents, xs, shares(operation, grads[node], *xs)):
            if np.shape(share) != np.shape(x):
                share = unbroadcast(share, np.shape(x))
            if parent in grads:
                grads[parent] += share
            else:
                grads[parent] = share
    return grads
