"""nodes are evaluated that the output does not depend on"""


def forward(graph, inputs, output):
    values = dict(inputs)
    while len(values) < len(graph):
        for node, (operation, parents) in graph.items():
            if node not in values and values.keys() >= {*parents}:
                values[node] = OPERATIONS[operation](*(values[parent] for parent in parents))
    return values
