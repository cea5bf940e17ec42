"""The parts of a computation graph's picture: nodes as cards, edges, and the state of a walk."""

from collections import Counter
from dataclasses import dataclass

from minigrad.viz import style
from minigrad.viz.layout import layered_layout, topological_order

KINDS = ("input", "parameter", "op", "output")
LABEL, LINE = 15.0, 13.5  # font sizes of a node's name and of the lines under it
PAD, BORDER = 9.0, 14.0  # inside a node; around the picture


@dataclass(frozen=True)
class Node:
    """A node: its id, what is written in it, and what is known about it (text or number).

    A value that is a text in round brackets, a shape, stands for itself; others follow an "=".
    kind: "input", "parameter", "op" or "output", which chooses the colour.
    """

    id: object
    label: str
    kind: str = "op"
    value: object = None
    gradient: object = None
    tangent: object = None


@dataclass(frozen=True)
class Walk:
    """The state of a walk: which way, its order, and how many steps of it are made."""

    way: str | None
    order: tuple
    made: int

    def step(self, node):
        """The number of the node's step, from 1; 0 if it has not come yet (or never will)."""
        at = self.order.index(node) + 1 if node in self.order else 0
        return at if at <= self.made else 0

    def lit(self, node):
        return self.way is None or self.step(node) > 0

    @property
    def color(self):
        return style.color("backward" if self.way == "reverse" else "forward")

    def shows(self, node, what):
        """Whether the node's value, gradient or tangent is known at this moment of the walk."""
        if self.way == "reverse":
            return what != "gradient" or self.lit(node)
        return self.way is None or (what != "gradient" and self.lit(node))


class GraphPicture:
    """A graph with its layout, ready to be drawn in any state of a walk."""

    def __init__(self, nodes, edges, direction, key, tight=False):
        style.require_matplotlib()
        self.nodes = [_as_node(node) for node in nodes]
        self.edges = [(edge[0], edge[1], edge[2] if len(edge) > 2 else "") for edge in edges]
        if not self.nodes:
            raise ValueError("there are no nodes to draw")
        twice = [name for name, n in Counter(node.id for node in self.nodes).items() if n > 1]
        if twice:
            raise ValueError(f"node ids given twice: {twice}")
        self.down, self.key = direction == "down", key
        self.cards = {node.id: _card_size(node) for node in self.nodes}
        texts = [style.text_size(text, style.SMALL)[0] for _, _, text in self.edges if text]
        for_texts = (56.0 if self.down else max(texts) + 34) if texts else 0.0
        self.layout = layered_layout(
            self.cards,
            [edge[:2] for edge in self.edges],
            along_gap=max(28.0 if tight else 40.0, for_texts),
            across_gap=16.0 if tight else 20.0,
            direction=direction,
        )
        self.size = self.layout.width + 2 * BORDER, self.layout.height + 2 * BORDER
        self.tangents = any(_given(node.tangent) for node in self.nodes)

    def walk(self, way, order, made):
        """The state after `made` steps of a walk (all, if None) in an order, or the default one."""
        if way is None and order is None and made is None:
            return Walk(None, (), 0)
        if way not in (None, "forward", "reverse"):
            raise ValueError(f'walk is {way!r}: it must be "forward" or "reverse"')
        ids = [node.id for node in self.nodes]
        if order is None:
            order = topological_order(ids, [edge[:2] for edge in self.edges])
            order = order if way == "forward" else order[::-1]
        strange = [name for name in order if name not in ids]
        if strange:
            raise ValueError(f"order names nodes that are not there: {strange}")
        made = len(order) if made is None else made
        if not 0 <= made <= len(order):
            raise ValueError(f"lit is {made}: the walk has {len(order)} steps")
        return Walk(way or "reverse", tuple(order), made)

    def key_entries(self, state):
        """(text, fill, edge) of the signs that this picture uses."""
        if not self.key:
            return []
        used = {node.kind for node in self.nodes}
        entries = [(kind, *_kind_look(kind)) for kind in KINDS if kind in used and kind != "op"]
        signs = {"value": "= value", "gradient": "∇ gradient", "tangent": "+ … ε  tangent"}
        for what, text in signs.items():
            given = any(_given(getattr(node, what)) for node in self.nodes)
            if given and not (what == "gradient" and state.way == "forward"):
                shade = style.color(what)
                entries.append((text, shade, shade))
        if state.way:
            entries.append(("just reached", style.PAPER, style.color("highlight")))
        return entries

    def draw(self, pen, state):
        ports = self._ports()
        for edge, route, port in zip(self.edges, self.layout.routes, ports, strict=True):
            self._edge(pen, state, edge, self._points(*edge[:2], route, port))
        for node in self.nodes:
            _card(pen, node, state, self.cards[node.id], *self.layout.centers[node.id])

    def _ports(self):
        """For each edge how far from the middle of its target it arrives, so that none coincide."""
        axis = 0 if self.down else 1
        arriving = {}
        for number, (source, target, _) in enumerate(self.edges):
            route = self.layout.routes[number]
            last = route[-1] if route else self.layout.centers[source]
            arriving.setdefault(target, []).append((last[axis], number))
        ports = [0.0] * len(self.edges)
        for target, ends in arriving.items():
            room = self.cards[target][axis] - 16
            step = min(18.0, room / max(len(ends) - 1, 1))
            for place, (_, number) in enumerate(sorted(ends)):
                ports[number] = (place - (len(ends) - 1) / 2) * step
        return ports

    def _points(self, source, target, route, port):
        (x0, y0), (x1, y1) = self.layout.centers[source], self.layout.centers[target]
        if self.down:
            y0, y1 = y0 - self.cards[source][1] / 2 - 1, y1 + self.cards[target][1] / 2 + 2
            return [(x0, y0), *route, (x1 + port, y1)]
        x0, x1 = x0 + self.cards[source][0] / 2 + 1, x1 - self.cards[target][0] / 2 - 2
        return [(x0, y0), *route, (x1, y1 + port)]

    def _edge(self, pen, state, edge, points):
        source, target, text = edge
        lit = state.way is not None and state.lit(source) and state.lit(target)
        back = lit and state.way == "reverse"
        shades = [style.INK if state.way is None else "#B8B8B8"]
        if lit:
            shades = [state.color]
        if self.tangents and (state.way is None or (lit and not back)):
            shades = [style.color("value"), style.color("tangent")]
        _arrow(pen, points, shades, 3.0 if lit or len(shades) > 1 else 2.0, back, self.down)
        if text:
            fans_out = sum(other[0] == source for other in self.edges) > 1
            x, y = _along(points, 0.62 if fans_out else 0.4, self.down)
            look = {"facecolor": style.PAPER, "edgecolor": "none", "pad": 1.5}
            shade = style.ink(shades[-1]) if state.lit(source) else style.GREY
            pen.text(x, y, text, style.SMALL, color=shade, bbox=look, math=True)


def _arrow(pen, points, shades, width, back, down):
    """An arrow of one strand, or of two strands side by side with one head in both colours."""
    ahead = (0, -1) if down else (1, 0)
    towards = (-ahead[0], -ahead[1]) if back else ahead
    size = 10.0 if width < 3 else 12.5
    tip, foot = (0 if back else -1), list(points)
    x, y = points[tip]
    pen.head(x, y, towards, shades, size=size)
    foot[tip] = (x - 0.85 * size * towards[0], y - 0.85 * size * towards[1])
    for number, shade in enumerate(shades):
        shift = (number - (len(shades) - 1) / 2) * 3.8
        dx, dy = (-shift, 0) if down else (0, -shift)
        strand = [(x + dx, y + dy) for x, y in foot]
        pen.curve(strand, color=shade, width=width, down=down)


def _as_node(node):
    if isinstance(node, dict):
        node = Node(**node)
    elif isinstance(node, (tuple, list)):
        node = Node(*node)
    if not isinstance(node, Node):
        raise TypeError(f"a node must be a Node, dict or tuple, not {type(node).__name__}")
    if node.kind not in KINDS:
        raise ValueError(f"node {node.id!r} is of kind {node.kind!r}: it must be one of {KINDS}")
    return node


def _given(value):
    return value is not None and not (isinstance(value, str) and value == "")


def _lines(node):
    """(what, text) of the lines under a node's label."""
    lines = []
    if _given(node.value):
        text = style.number(node.value)
        lines.append(("value", text if text.startswith("(") else f"= {text}"))
    if _given(node.tangent):
        text = style.number(node.tangent).replace("-", "−")
        sign = "−" if text.startswith("−") else "+"
        lines.append(("tangent", f"{sign} {text.lstrip('−+ ')} ε"))
    if _given(node.gradient):
        lines.append(("gradient", f"∇ {style.number(node.gradient)}"))
    return [(what, text.replace("-", "−")) for what, text in lines]


def _card_size(node):
    label = style.text_size(node.label, LABEL, "bold")
    widths = [label[0], *(style.text_size(text, LINE, "bold")[0] for _, text in _lines(node))]
    body = 19.0 * len(_lines(node)) + 6 if _lines(node) else 0.0
    return max(max(widths) + 2 * PAD, 40.0), label[1] + 12 + body


def _kind_look(kind):
    """(fill, edge) of a kind of node."""
    if kind == "output":
        return style.INK, style.INK
    if kind == "op":
        return "#EFEFEF", "#6B6B6B"
    return style.tint(kind, 0.45), style.color(kind)


def _card(pen, node, state, size, x, y):
    width, height = size
    head = style.text_size(node.label, LABEL, "bold")[1] + 12
    left, bottom = x - width / 2, y - height / 2
    lit, step = state.lit(node.id), state.step(node.id)
    fill, edge = _kind_look(node.kind) if lit else ("#F4F4F4", "#C4C4C4")
    name = style.text_on(fill) if lit else "#757575"
    if step and step == state.made:
        glow = {"fill": style.color("highlight"), "zorder": 1.5}
        pen.box(left - 5, bottom - 5, width + 10, height + 10, radius=11, **glow)
    pen.box(left, bottom, width, height, fill=style.PAPER, zorder=4)
    outline = pen.box(left, bottom, width, height, edge=edge, line=2.0, zorder=4.6)
    band = pen.box(left, y + height / 2 - head, width, head, radius=0, fill=fill, zorder=4.3)
    band.set_clip_path(outline)
    middle = y + height / 2 - head / 2
    pen.text(x, middle, node.label, LABEL, color=name, fontweight="bold", math=True)
    for number, (what, text) in enumerate(_lines(node)):
        if state.shows(node.id, what):
            place = y + height / 2 - head - 3 - 19 * (number + 0.5)
            pen.text(x, place, text, LINE, color=style.ink(what), fontweight="bold")
    if step:
        pen.disc(left, y + height / 2, 10.5, fill=state.color, edge=style.PAPER)
        place = {"color": style.PAPER, "fontweight": "bold", "zorder": 7}
        pen.text(left, y + height / 2 - 0.5, str(step), style.SMALL, **place)


def _along(points, share, down):
    """The point of an edge's smooth line that lies at `share` of its first piece."""
    (x0, y0), (x1, y1) = points[:2]
    bend = 3 * share**2 - 2 * share**3
    straight = 1.5 * share - 1.5 * share**2 + share**3
    if down:
        return x0 + bend * (x1 - x0), y0 + straight * (y1 - y0)
    return x0 + straight * (x1 - x0), y0 + bend * (y1 - y0)
