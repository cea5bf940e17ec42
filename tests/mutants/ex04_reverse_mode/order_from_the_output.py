"""the list is the wrong way round: every node must come after its parents"""

_topological_order = topological_order


def topological_order(graph, output):
    return _topological_order(graph, output)[::-1]
