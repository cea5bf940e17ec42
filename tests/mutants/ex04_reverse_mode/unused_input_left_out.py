"""inputs that are not used are left out"""


def gradient(f, xs):
    graph, inputs, output = record(f, xs)
    grads = backward(graph, forward(graph, inputs, output), output)
    return tuple(grads[i] for i in range(len(xs)) if i in grads)
