"""an array that is not used gets the number 0.0, not zeros of its shape"""


def gradient(f, xs):
    graph, inputs, output = record(f, xs)
    grads = backward(graph, forward(graph, inputs, output), output)
    return tuple(grads.get(i, 0.0) for i in range(len(xs)))
