"""Computation graphs: who feeds whom, with values, gradients and tangents, and walks through them.

A node is plain data (Node, or a dict or tuple of its fields), an edge a pair of node ids, or a
triple with a text to write on it.
"""

import math

from minigrad.viz import style
from minigrad.viz.graph_parts import BORDER, LABEL, GraphPicture, Node
from minigrad.viz.pen import Pen, draw_key, key_rows, key_width

__all__ = ["Node", "computation_graph", "graph_walk"]

WIDEST = 13.0  # inches, of the panels of a walk together
GUTTER = 24.0  # points between panels


def computation_graph(
    nodes,
    edges,
    *,
    walk=None,
    lit=None,
    order=None,
    direction="right",
    key=True,
    title=None,
    ax=None,
):
    """Draws a computation graph, or a moment of a walk through it.

    Arguments: nodes: Node, or dicts or tuples of its fields; edges: (source, target[, text]);
    walk: "forward" or "reverse" numbers the nodes in the order of that walk and lights up the
    first `lit` of them (all, if not given): values appear as the forward walk reaches them,
    gradients as the reverse walk does; order: node ids, for a walk in an order of one's own;
    direction: "right" or "down", the way of the edges; key: explains the signs below;
    title: the finding; ax: axes to draw on.
    Returns the figure, or the axes that were given.
    Raises ValueError for unknown nodes or kinds, ids given twice, cycles.
    """
    picture = GraphPicture(nodes, edges, direction, key)
    state = picture.walk(walk, order, lit)
    return _draw(picture, [(state, None)], 1, title, ax)


def graph_walk(
    nodes,
    edges,
    *,
    walk="reverse",
    steps=None,
    order=None,
    titles=None,
    columns=None,
    direction=None,
    key=True,
    title=None,
):
    """Draws several moments of a walk through a graph side by side, each with what it adds.

    Arguments: as computation_graph; steps: how many steps are made in each panel (default: all
    steps of a walk of up to six, else four spread over it); titles: one a panel (default: the
    node reached); columns: panels in a row; direction: of the edges (default for both: what fills
    a screen best).
    Returns the figure.
    """
    ways = [direction] if direction else ["down", "right"]
    graphs = [GraphPicture(nodes, edges, way, key, tight=True) for way in ways]
    whole = graphs[0].walk(walk, order, None)
    last = len(whole.order)
    if steps is None:
        count = last if last <= 6 else 4
        steps = [round(1 + i * (last - 1) / max(count - 1, 1)) for i in range(count)]
    bad = [step for step in steps if not 0 <= step <= last]
    if bad or not steps:
        raise ValueError(f"steps {bad or steps}: the walk has steps 0 to {last}")
    if titles is None:
        names = {node.id: node.label.replace("\n", " ") for node in graphs[0].nodes}
        titles = [f"step {k}: {names[whole.order[k - 1]]}" if k else "before" for k in steps]
    if len(titles) != len(steps):
        raise ValueError(f"{len(titles)} titles for {len(steps)} steps")
    graph, columns = _arrangement(graphs, columns, len(steps))
    panels = [(graph.walk(walk, order, k), text) for k, text in zip(steps, titles, strict=True)]
    return _draw(graph, panels, columns, title, None)


def _arrangement(graphs, columns, count):
    """(graph, columns): of the ways to draw it and to break the row, the one most like a screen."""
    best, choice = None, None
    for graph in graphs:
        width, height = graph.size
        for tried in [columns] if columns else range(1, count + 1):
            across, down = tried * (width + GUTTER), -(-count // tried) * (height + 50)
            too_wide = max(0.0, across / 72 - WIDEST)
            empty = -count % tried * 0.25
            badness = (too_wide, abs(math.log(across / down / 1.6)) + empty)
            if best is None or badness < best:
                best, choice = badness, (graph, tried)
    return choice


@style.styled
def _draw(graph, panels, columns, title, ax):
    """Draws (state, title) panels of a graph in rows; the key stands once, at the foot."""
    width, height = graph.size
    titles = [style.wrap(text, width - BORDER, LABEL, "bold") for _, text in panels if text]
    head = 12.0 + max((style.text_size(text, LABEL)[1] for text in titles), default=-12.0)
    rows = -(-len(panels) // columns)
    entries = graph.key_entries(panels[-1][0])
    inside = columns * (width + GUTTER) - GUTTER
    whole = max(inside, min(key_width(entries) + 2 * BORDER, 480.0))
    key = key_rows(entries, whole - 2 * BORDER)
    foot = 22.0 * len(key) + 6 if key else 0.0
    owner, ax, scale = style.bare_canvas(ax, whole, rows * (height + head) + foot, title)
    pen = Pen(ax, scale)
    for i, (state, text) in enumerate(panels):
        left = (i % columns) * (width + GUTTER) + (whole - inside) / 2
        bottom = foot + (rows - 1 - i // columns) * (height + head)
        if text:
            text = style.wrap(text, width - BORDER, LABEL, "bold")
            place = {"ha": "left", "va": "top", "fontweight": "bold"}
            pen.text(left + BORDER / 2, bottom + height + head - 6, text, LABEL, **place)
        graph.draw(pen.moved(left + BORDER, bottom + BORDER), state)
    draw_key(pen.moved(BORDER, 0), key, foot - 2)
    return owner
