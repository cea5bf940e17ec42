"""a node is listed that the output does not depend on"""


def topological_order(graph, output):
    order, done = [], set()
    while len(order) < len(graph):
        for node, (_, parents) in graph.items():
            if node not in done and done.issuperset(parents):
                order.append(node)
                done.add(node)
    return order
