"""a parent that stands twice in one operation gets one of its two shares"""


def backward(graph, values, output):
    grads = {output: 1.0}
    for node in reversed(topological_order(graph, output)):
        operation, parents = graph[node]
        xs = [values[parent] for parent in parents]
        for parent, share in dict(zip(parents, shares(operation, grads[node], *xs))).items():
            share = unbroadcast(share, np.shape(values[parent]))
            grads[parent] = grads.get(parent, 0.0) + share
    return grads
