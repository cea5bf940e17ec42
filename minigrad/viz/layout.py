"""Places for the nodes of a directed graph, layer by layer, and for labels that must not touch.

Plain Python: the same graph gets the same picture, everywhere. The steps are those of Sugiyama,
Tagawa and Toda (1981): layers, an order in each with few crossings, then coordinates.
"""

from dataclasses import dataclass, field
from itertools import pairwise


@dataclass
class Layout:
    """Where everything goes, y pointing up; lengths in the unit of the sizes that were given.

    centers: node -> (x, y) of its middle; routes: for each edge the points it passes between its
    two ends (none for neighbours); layers: the nodes of each layer, in order.
    """

    width: float
    height: float
    centers: dict = field(default_factory=dict)
    routes: list = field(default_factory=list)
    layers: list = field(default_factory=list)


def topological_order(nodes, edges):
    """The nodes so that each edge points forward; of those possible, the first as given.

    Raises ValueError for an edge to a node that is not there, or a cycle (both are named).
    """
    waiting = dict.fromkeys(nodes, 0)
    targets = {node: [] for node in nodes}
    for source, target in edges:
        for end in (source, target):
            if end not in waiting:
                raise ValueError(f"edge {source!r} -> {target!r}: there is no node {end!r}")
        waiting[target] += 1
        targets[source].append(target)
    ready = [node for node, count in waiting.items() if count == 0]
    order = []
    for node in ready:  # grows while it is walked
        order.append(node)
        for target in targets[node]:
            waiting[target] -= 1
            if waiting[target] == 0:
                ready.append(target)
    if len(order) < len(waiting):
        left = [node for node in waiting if waiting[node] > 0]
        raise ValueError(f"the graph has a cycle through {left}: a layered picture needs none")
    return order


def layered_layout(sizes, edges, *, along_gap=46.0, across_gap=22.0, direction="right"):
    """Places nodes in layers, inputs first, with few crossings and straight long edges.

    Arguments: sizes: node -> (width, height); edges: (source, target) pairs, several of a pair
    allowed; along_gap, across_gap: free space between layers, and between neighbours in a layer;
    direction: "right" or "down", the way the edges run.
    Returns a Layout whose nodes do not overlap, its lower left corner at (0, 0).
    Raises ValueError for unknown nodes, cycles, another direction.
    """
    if direction not in ("right", "down"):
        raise ValueError(f'direction is {direction!r}: it must be "right" or "down"')
    if not sizes:
        return Layout(0.0, 0.0)
    down = direction == "down"
    turned = {node: (h, w) if down else (w, h) for node, (w, h) in sizes.items()}
    layer_of = _layers(list(turned), edges)
    chains, spans, layers = _with_waypoints(turned, edges, layer_of)
    layers = _ordered(layers, spans)
    across = _across(layers, spans, turned, across_gap)
    along, depth, length = _along(layers, turned, along_gap)

    low = min(across[node] - turned[node][1] / 2 for node in across)
    high = max(across[node] + turned[node][1] / 2 for node in across)

    def place(node, shift=0.0):
        x, y = along[node] + shift, high - across[node]
        return (high - low - y, length - x) if down else (x, y)

    def pieces(point):  # a waypoint: straight through the whole layer, past its nodes
        return [place(point, -depth[point] / 2), place(point, depth[point] / 2)]

    size = (high - low, length) if down else (length, high - low)
    return Layout(
        *size,
        centers={node: place(node) for node in sizes},
        routes=[[end for point in chain[1:-1] for end in pieces(point)] for chain in chains],
        layers=[[node for node in layer if node in sizes] for layer in layers],
    )


def _layers(nodes, edges):
    """node -> number of its layer: after all its sources; inputs stand just before their use."""
    order = topological_order(nodes, edges)
    layer = dict.fromkeys(order, 0)
    sources, targets = {n: [] for n in nodes}, {n: [] for n in nodes}
    for source, target in edges:
        sources[target].append(source)
        targets[source].append(target)
    for node in order:
        layer[node] = max((layer[s] + 1 for s in sources[node]), default=0)
    for node in order:
        if not sources[node] and targets[node]:
            layer[node] = min(layer[t] for t in targets[node]) - 1
    return layer


def _with_waypoints(sizes, edges, layer_of):
    """Cuts long edges into steps of one layer by waypoints, which get a place like small nodes."""
    layers = [[] for _ in range(max(layer_of.values()) + 1)]
    for node in sizes:
        layers[layer_of[node]].append(node)
    chains, spans = [], []
    for number, (source, target) in enumerate(edges):
        chain = [source]
        for step in range(layer_of[source] + 1, layer_of[target]):
            point = ("waypoint", number, step)
            sizes[point] = (0.0, 6.0)
            layers[step].append(point)
            chain.append(point)
        chain.append(target)
        chains.append(chain)
        spans += list(pairwise(chain))
    return chains, spans, layers


def _neighbours(spans):
    before, after = {}, {}
    for source, target in spans:
        after.setdefault(source, []).append(target)
        before.setdefault(target, []).append(source)
    return before, after


def crossings(layers, spans):
    """How many pairs of edges cross, with straight edges between neighbouring layers."""
    rank = {node: i for layer in layers for i, node in enumerate(layer)}
    level = {node: i for i, layer in enumerate(layers) for node in layer}
    count = 0
    for i in range(len(layers) - 1):
        pairs = sorted((rank[s], rank[t]) for s, t in spans if level[s] == i)
        for a in range(len(pairs)):
            count += sum(
                pairs[a][0] < pairs[b][0] and pairs[a][1] > pairs[b][1]
                for b in range(a + 1, len(pairs))
            )
    return count


def _ordered(layers, spans, sweeps=8):
    """The layers in an order with few crossings: each node at the mean rank of its neighbours."""
    before, after = _neighbours(spans)
    best, fewest = [list(layer) for layer in layers], crossings(layers, spans)
    current = [list(layer) for layer in layers]
    for sweep in range(sweeps):
        if fewest == 0:
            break
        forward = sweep % 2 == 0
        near = before if forward else after
        steps = range(1, len(current)) if forward else range(len(current) - 2, -1, -1)
        for i in steps:
            fixed = current[i - 1] if forward else current[i + 1]
            rank = {node: position for position, node in enumerate(fixed)}
            mean = {
                node: sum(rank[n] for n in near[node]) / len(near[node]) if node in near else place
                for place, node in enumerate(current[i])
            }
            current[i].sort(key=mean.__getitem__)
        count = crossings(current, spans)
        if count < fewest:
            best, fewest = [list(layer) for layer in current], count
    return best


def _across(layers, spans, sizes, gap, sweeps=25):
    """node -> place across the layers: near the mean of its neighbours, in order, not touching.

    Inputs count little, so that what happens to them on the way stays on a straight line.
    """
    before, after = _neighbours(spans)
    weight = {node: 1.0 if node in before else 0.05 for layer in layers for node in layer}
    place = {}
    for layer in layers:
        start = spread([0.0] * len(layer), _widths(layer, sizes), gap)
        place |= dict(zip(layer, start, strict=True))
    for sweep in range(sweeps):
        forward = sweep % 2 == 0
        for layer in layers if forward else reversed(layers):
            wanted = []
            for node in layer:
                near = before.get(node, []) + after.get(node, []) or [node]
                pull = sum(weight[n] for n in near)
                wanted.append(sum(weight[n] * place[n] for n in near) / pull)
            weights = [weight[node] for node in layer]
            placed = spread(wanted, _widths(layer, sizes), gap, weights)
            place |= dict(zip(layer, placed, strict=True))
    return place


def _widths(layer, sizes):
    return [sizes[node][1] for node in layer]


def _along(layers, sizes, gap):
    """node -> place along the edges, node -> depth of its layer (its largest node's), length."""
    place, depths, start = {}, {}, 0.0
    for layer in layers:
        depth = max(sizes[node][0] for node in layer)
        place |= dict.fromkeys(layer, start + depth / 2)
        depths |= dict.fromkeys(layer, depth)
        start += depth + gap
    return place, depths, start - gap


def spread(wanted, widths, gap=0.0, weights=None):
    """Centres nearest to the wanted ones (least squares), in the given order, that do not overlap.

    Arguments: wanted: n numbers, in the order to be kept; widths: n widths; gap: between two;
    weights: n numbers, how much each minds being moved (default: all alike).
    By pooling adjacent violators: things that would overlap move together, as one block.

    >>> spread([0.0, 0.0, 10.0], [2.0, 2.0, 2.0])
    [-1.0, 1.0, 10.0]
    """
    offsets = [0.0]
    for left, right in pairwise(widths):
        offsets.append(offsets[-1] + (left + right) / 2 + gap)
    blocks = []  # of [mean of wanted - offset, weight, how many]
    for want, offset, weight in zip(wanted, offsets, weights or [1.0] * len(wanted), strict=False):
        mean, count = want - offset, 1
        while blocks and blocks[-1][0] > mean:
            last, heavy, members = blocks.pop()
            mean = (last * heavy + mean * weight) / (heavy + weight)
            weight, count = weight + heavy, count + members
        blocks.append([mean, weight, count])
    means = [mean for mean, _, count in blocks for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=False)]
