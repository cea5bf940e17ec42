"""Decoding: the tree of a beam search, and what filters leave of a distribution."""

import numpy as np

from minigrad.viz import style
from minigrad.viz.pen import Pen, draw_key, key_rows

BOX, ROW, GAP = 42.0, 54.0, 30.0  # a node's height, from row to row, between columns, in points
FATES = ("kept", "finished", "dropped")


@style.styled
def beam_tree(nodes, *, best=None, dropped=0, title=None, ax=None):
    """Draws the texts that a beam search looked at: a column a step, the likeliest on top.

    Arguments: nodes: (parent, token, log probability, fate) each, the prompt first with parent
    None: the tree of `minigrad.inference.Beams` with words for tokens; parent is a place in this
    list, fate "kept", "finished" or "dropped"; best: the place of the end of the winning text
    (default: the likeliest finished node, else the likeliest in the last column); dropped: how many
    dropped nodes to draw in each step; title: the finding; ax: axes to draw on.
    Under each token stands the log probability of the new text up to it. Finished texts are drawn
    apart from those that go on.
    Returns the figure, or the axes that were given.
    Raises ValueError for a list that is no tree.
    """
    nodes = [tuple(node) for node in nodes]
    depth = _depths(nodes)
    best = _likeliest_end(nodes, depth) if best is None else best
    if not 0 <= best < len(nodes):
        raise ValueError(f"best is {best}: there are nodes 0 to {len(nodes) - 1}")
    columns = _columns(nodes, depth, dropped)
    roles = _roles(nodes, columns, best)
    labels = [style.visible("" if node[1] is None else node[1]) for node in nodes]
    widths = [max(_box_width(nodes[i], labels[i]) for i in column) for column in columns]
    tall = ROW * max(map(len, columns))
    total = sum(widths) + GAP * (len(columns) - 1) + 24
    key = [("the winner", style.tint("highlight", 0.55), style.color("highlight"))]
    used = set(roles.values())
    key += [("goes on", style.tint("value", 0.2), style.color("value"))] * ("lives" in used)
    key += [("finished", style.tint("tangent", 0.25), style.color("tangent"))] * (
        "finished" in used
    )
    key += [("dies later", style.tint("muted", 0.2), style.GREY)] * ("dies" in used)
    key += [("dropped at once", style.PAPER, style.GREY)] * ("dropped" in used)
    rows = key_rows(key, total - 24)
    head = 22 * len(rows) + 30
    owner, ax, scale = style.bare_canvas(ax, total, tall + head + 8, title)
    draw_key(Pen(ax, scale, 12, tall + 30), rows, head - 24)
    x, place = 12.0, {}
    for step, (column, width) in enumerate(zip(columns, widths, strict=True)):
        pen = Pen(ax, scale, x, 4)
        if step:
            pen.text(width / 2, tall + 8, f"step {step}", style.SMALL, color=style.GREY)
        for rank, i in enumerate(column):
            y = tall - ROW * (rank + 0.5) if step else tall / 2
            place[i] = x, x + width, y + 4
            _node(pen.moved(0, y), width, labels[i], nodes[i][2] if step else None, roles[i])
        x += width + GAP
    for i in place:
        if nodes[i][0] is not None:
            _branch(Pen(ax, scale), place[nodes[i][0]], place[i], roles[i])
    return owner


def _depths(nodes):
    """How many steps each node is from the prompt."""
    if not nodes or nodes[0][0] is not None:
        raise ValueError("the first node must be the prompt, with parent None")
    depth = [0]
    for i, (parent, _, _, fate) in enumerate(nodes[1:], 1):
        if parent is None or not 0 <= parent < i:
            raise ValueError(f"node {i}: its parent is {parent}, expected 0 to {i - 1}")
        if fate not in FATES:
            raise ValueError(f"node {i}: its fate is {fate!r}, expected one of {', '.join(FATES)}")
        depth.append(depth[parent] + 1)
    return depth


def _likeliest_end(nodes, depth):
    ends = [i for i, node in enumerate(nodes) if node[3] == "finished"]
    ends = ends or [i for i in range(len(nodes)) if depth[i] == max(depth)]
    return max(ends, key=lambda i: nodes[i][2])


def _columns(nodes, depth, dropped):
    """The nodes to draw, step by step, the likeliest first."""
    columns = []
    for step in range(max(depth) + 1):
        own = sorted((i for i in range(len(nodes)) if depth[i] == step), key=lambda i: -nodes[i][2])
        spared = [i for i in own if nodes[i][3] == "dropped"][:dropped]
        columns.append([i for i in own if nodes[i][3] != "dropped" or i in spared])
    return columns


def _roles(nodes, columns, best):
    """{node: "winner", "lives", "finished", "dies" or "dropped"}."""
    roles = {i: "dies" for column in columns for i in column}
    # Whatever leads to the last column, or to a finished text, lives.
    ends = [i for i in roles if nodes[i][3] == "finished" or i in columns[-1]]
    for role, tips in (("lives", ends), ("winner", [best])):
        for i in tips:
            while i is not None:
                roles[i] = role
                i = nodes[i][0]
    roles |= {i: "finished" for i in ends if nodes[i][3] == "finished" and roles[i] == "lives"}
    return roles | {i: "dropped" for i in roles if nodes[i][3] == "dropped"}


def _box_width(node, label):
    score = "" if node[0] is None else _score(node[2])
    sizes = style.text_size(label, style.BODY, "bold")[0], style.text_size(score, style.SMALL)[0]
    return max(*sizes, 30.0) + 14


def _score(log_probability):
    return f"{log_probability:.2f}".replace("-", "−")


def _node(pen, width, label, log_probability, role):
    looks = {
        "winner": (style.tint("highlight", 0.55), style.color("highlight"), style.INK),
        "lives": (style.tint("value", 0.2), style.color("value"), style.INK),
        "finished": (style.tint("tangent", 0.25), style.color("tangent"), style.INK),
        "dies": (style.tint("muted", 0.2), style.GREY, style.INK),
        "dropped": (style.PAPER, style.GREY, style.ink("muted")),
    }
    fill, edge, ink = looks[role]
    pen.box(0, -BOX / 2, width, BOX, fill=fill, edge=edge, line=2.0 if role == "winner" else 1.4)
    alone = log_probability is None
    pen.text(width / 2, 0 if alone else 9, label, fontweight="bold", color=ink)
    if not alone:
        pen.text(width / 2, -10, _score(log_probability), style.SMALL, color=ink)


def _branch(pen, parent, child, role):
    shades = {"winner": "highlight", "lives": "value", "finished": "tangent"}
    shades |= {"dies": "muted", "dropped": "faint"}
    width = {"winner": 4.0, "dropped": 1.4}.get(role, 2.0)
    points = [(parent[1], parent[2]), (child[0], child[2])]
    order = 2.4 if role == "winner" else 2.0
    pen.curve(points, color=style.color(shades[role]), width=width, zorder=order)


@style.styled
def token_bars(panels, names, *, top=10, title=None, width=13.0):
    """Draws distributions of the next token as bars, and which of their tokens a filter keeps.

    Arguments: panels: {row: {column: probabilities (V,), or (probabilities, keep (V,) bool)}}, a
    panel each; names: id -> the token's text, as a function; top: how many tokens get a bar of
    their own, the likeliest of the row's first panel, all others one together; title: the finding;
    width: of the figure, in inches.
    Kept tokens are blue, cut ones grey, with their share of the whole; above each panel stands how
    many are kept and what mass they have.
    Returns the figure. Raises ValueError for panels that do not fit together.
    """
    rows = {
        name: {c: _pair(name, c, panel) for c, panel in row.items()} for name, row in panels.items()
    }
    counts = {len(row) for row in rows.values()}
    if len(counts) != 1 or 0 in counts:
        raise ValueError("panels must be rows of the same number of columns, and not empty")
    height = len(rows) * (0.36 * (top + 1) + 1.35)
    shape = len(rows), counts.pop()
    picture, axes = style.figure(*shape, width=width, height=height, squeeze=False, sharex=True)
    for line, (name, row) in zip(axes, rows.items(), strict=True):
        order = np.argsort(-next(iter(row.values()))[0], kind="stable")[:top]
        for ax, (column, (probabilities, keep)) in zip(line, row.items(), strict=True):
            _panel(ax, probabilities, keep, order)
            heading = [column] if keep is None else [column, _kept(probabilities, keep)]
            ax.set_title(
                heading[0], loc="left", fontsize=style.BODY, pad=26 if keep is not None else 8
            )
            if keep is not None:
                place = {"xy": (0, 1), "xytext": (0, 8), "textcoords": "offset points"}
                ax.annotate(heading[1], xycoords="axes fraction", fontsize=style.SMALL, **place)
        words = [style.visible(names(int(i))) for i in order]
        rest = len(next(iter(row.values()))[0]) - len(order)
        line[0].set_yticks(
            range(len(order) + 1), [*words, f"{rest:,} others"], fontsize=style.SMALL
        )
        for ax in line[1:]:
            ax.set_yticks(range(len(order) + 1), [""] * (len(order) + 1))
        line[0].set_ylabel(name, fontweight="bold")
    for ax in axes.flat:
        ax.set_xticks([tick for tick in ax.get_xticks() if 0 <= tick <= 1])
    for ax in axes[-1]:
        ax.set_xlabel("probability")
    if title:
        picture.suptitle(title, x=0.01, ha="left", fontsize=style.TITLE, fontweight="bold")
    return picture


def _pair(row, column, panel):
    """(probabilities (V,), keep (V,) or None) of a panel."""
    probabilities, keep = panel if isinstance(panel, tuple) else (panel, None)
    probabilities = np.asarray(probabilities, dtype=float)
    if probabilities.ndim != 1 or not abs(probabilities.sum() - 1) < 1e-3:
        raise ValueError(f"{row!r}, {column!r}: no distribution (V,) with sum 1")
    if keep is not None and np.shape(keep) != probabilities.shape:
        raise ValueError(
            f"{row!r}, {column!r}: keep is {np.shape(keep)}, expected {probabilities.shape}"
        )
    return probabilities, None if keep is None else np.asarray(keep, dtype=bool)


def _kept(probabilities, keep):
    count, mass = int(keep.sum()), probabilities[keep].sum()
    # 99.96 % is not all
    share = "100" if keep.all() else f"{min(100 * mass, 99.9):.1f}"
    return f"keeps {count:,} token{'s' * (count != 1)}, {share} % of the mass"


def _panel(ax, probabilities, keep, order):
    """Bars of the tokens in `order` and one of all others, its kept part first."""
    keep = np.ones(len(probabilities), bool) if keep is None else keep
    others = np.ones(len(probabilities), bool)
    others[order] = False
    blue, grey = style.color("value"), style.tint("muted", 0.45)
    colors = [blue if keep[i] else grey for i in order]
    ax.barh(range(len(order)), probabilities[order], color=colors, height=0.74)
    kept, cut = (float(probabilities[others & part].sum()) for part in (keep, ~keep))
    ax.barh(len(order), kept, color=style.tint("value", 0.55), height=0.74)
    ax.barh(len(order), cut, left=kept, color=grey, height=0.74)
    values = [*probabilities[order], kept + cut]
    for row, value in enumerate(values):
        at = {"xytext": (4, 0), "textcoords": "offset points", "va": "center_baseline"}
        ax.annotate(_share(value), (value, row), fontsize=style.SMALL, **at)
    ax.set_ylim(len(order) + 0.6, -0.6)
    ax.set_xlim(0, max(max(values) * 1.3, ax.get_xlim()[1]))
    ax.tick_params(axis="y", length=0)
    ax.grid(True, axis="x")


def _share(value):
    """Three decimals, in every panel."""
    if value == 0:
        return "0"
    return "<0.001" if value < 5e-4 else f"{value:.3f}"
