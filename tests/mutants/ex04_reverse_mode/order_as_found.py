"""a node is listed before one of its parents"""


def topological_order(graph, output):
    order = [output]
    for node in order:
        order += [parent for parent in dict.fromkeys(graph[node][1]) if parent not in order]
    return order[::-1]
