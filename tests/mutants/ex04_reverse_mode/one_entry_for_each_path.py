"""a node is listed more than once"""


def topological_order(graph, output):
    order = [output]
    for node in order:
        if len(order) > 10_000:
            break
        order += graph[node][1]
    return order[::-1]
