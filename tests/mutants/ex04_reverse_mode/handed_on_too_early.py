"""a node hands on its shares before all of its own have arrived"""


def backward(graph, values, output):
    grads, waiting, seen = {output: 1.0}, [output], {output}
    for node in waiting:
        operation, parents = graph[node]
        xs = [values[parent] for parent in parents]
        for parent, x, share in zip(parents, xs, shares(operation, grads[node], *xs)):
            grads[parent] = grads.get(parent, 0.0) + unbroadcast(share, np.shape(x))
            if parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return grads
