"""What ranks did when: a row a rank, boxes of work on one clock, thin lanes of messages below."""

import numpy as np

from minigrad.viz import style

UNITS = {"s": 1.0, "ms": 1e3, "µs": 1e6}
MESSAGES = ("communication", "communicate", "message")  # roles drawn as thin lanes
WORK, LANE, GAP = 0.62, 0.16, 0.14  # heights of a row's parts


@style.styled
def rank_timeline(
    spans,
    *,
    names="rank {}",
    ranks=None,
    thin=MESSAGES,
    colors=None,
    unit=None,
    end=None,
    title=None,
    width=13.0,
    height=None,
    ax=None,
):
    """Draws the spans of all ranks: boxes of work with their labels, and messages thin below them.

    Where a rank does nothing, its row is grey. Of a simulated run, the spans are
    ``[(e.rank, e.begin, e.end, e.name, e.kind) for e in run.events]``.

    Arguments: spans: (rank, begin, end, label, role) tuples, times in seconds, label written where
    it fits, role a name whose colour is that of the roles or the next one free; names: of the rows,
    a pattern, a list or {rank: name}; ranks: which rows to draw, all that have spans unless given;
    thin: roles drawn in thin lanes below the work, as many as overlap, () for none; colors: role ->
    role or colour; unit: of the axis, "s", "ms", "µs", or (name, seconds) for one of your own; end:
    where the axis ends, in seconds, for pictures to compare; ax: axes to draw on.
    Returns the figure, or the axes that were given.
    Raises ValueError for no spans, spans that end before they begin, and an unknown unit.
    """
    spans = [_checked(*span) for span in spans if ranks is None or span[0] in set(ranks)]
    if not spans:
        raise ValueError("there are no spans to draw")
    rows = sorted({span[0] for span in spans}) if ranks is None else list(ranks)
    roles = list(dict.fromkeys(role for *_, role in spans))
    shades = style.colors_for(roles, colors)
    last = max(stop for _, _, stop, _, _ in spans) if end is None else float(end)
    word, scale = _unit(unit, last)
    lanes = {
        rank: _lanes([s for s in spans if s[0] == rank and s[4] in thin], 1e-9 * last)
        for rank in rows
    }
    tops, depth = {}, 0.0
    for rank in rows:
        tops[rank] = depth
        depth += WORK + LANE * len(lanes[rank]) + GAP
    owner, ax = style.canvas(ax, width, height or 1.7 + 0.62 * depth)
    style.set_title(ax, title)
    ax.set(xlabel=f"time ({word})", xlim=(0, last * scale), ylim=(depth, -GAP))
    labels = [_name(names, place, rank) for place, rank in enumerate(rows)]
    ax.set_yticks([tops[rank] + WORK / 2 for rank in rows], labels, fontsize=style.BODY)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    for rank in rows:
        idle = {"height": WORK, "align": "edge", "color": style.FAINT, "linewidth": 0}
        ax.barh(tops[rank], last * scale, **idle)
        work = [s for s in spans if s[0] == rank and s[4] not in thin]
        _boxes(ax, work, tops[rank], WORK, shades, scale)
        for number, lane in enumerate(lanes[rank]):
            top = tops[rank] + WORK + LANE * number
            _boxes(ax, lane, top, 0.8 * LANE, shades, scale, written=False)
    _key(ax, roles, shades)
    return owner


def _checked(rank, begin, stop, label, role):
    if not (np.isfinite(begin) and np.isfinite(stop) and begin <= stop):
        raise ValueError(f"span {label!r} of rank {rank} runs from {begin} to {stop}")
    return rank, float(begin), float(stop), str(label), str(role)


def _unit(unit, last):
    """(name of the unit, units a second)."""
    if unit is None:
        unit = next((name for name, scale in UNITS.items() if last * scale >= 1), "µs")
    if isinstance(unit, str):
        if unit not in UNITS:
            raise ValueError(
                f"unit is {unit!r}; expected one of {', '.join(map(repr, UNITS))} or a pair "
                "(name, seconds)"
            )
        return unit, UNITS[unit]
    name, seconds = unit
    if not seconds > 0:
        raise ValueError(f"unit {name!r} must last more than 0 seconds, got {seconds}")
    return name, 1 / seconds


def _lanes(spans, slack):
    """The spans in as few lists as it takes for none to overlap another of its list (by more than
    ``slack`` seconds, so that rounding makes no lanes)."""
    lanes = []
    for span in sorted(spans, key=lambda span: span[1:3]):
        free = next((lane for lane in lanes if lane[-1][2] <= span[1] + slack), None)
        if free is None:
            lanes.append([span])
        else:
            free.append(span)
    return lanes


def _name(names, place, rank):
    if isinstance(names, str):
        return names.format(rank)
    return str(names[rank] if hasattr(names, "keys") else names[place])


def _boxes(ax, spans, top, tall, shades, scale, written=True):
    """Boxes of one row; a thin white edge parts them, if they are wide enough to have one."""
    if not spans:
        return
    low, high = ax.get_xlim()
    inches_wide, inches_high = ax.figure.get_size_inches()
    spec, box = ax.get_subplotspec(), ax.get_position()
    share = box.width if spec is None else 0.9 * len(spec.colspan) / spec.get_gridspec().ncols
    points = 72 * inches_wide * share / (high - low)  # about, for a unit of time
    rows = abs(ax.get_ylim()[0] - ax.get_ylim()[1])
    room = 72 * 0.8 * inches_high * box.height * tall / rows
    for _, begin, stop, label, role in spans:
        left, wide = begin * scale, (stop - begin) * scale
        edge = min(1.2, 0.2 * wide * points)
        look = {"color": shades[role], "edgecolor": style.PAPER, "linewidth": edge}
        ax.barh(top, wide, left=left, height=tall, align="edge", **look)
        text_wide, text_tall = style.text_size(label, style.SMALL, "bold")
        if written and label and text_wide + 4 <= wide * points and text_tall <= 1.6 * room:
            place = {"ha": "center", "va": "center_baseline", "fontweight": "bold"}
            look = {"fontsize": style.SMALL, "color": style.text_on(shades[role])}
            ax.text(left + wide / 2, top + tall / 2, label, clip_on=True, **place, **look)


def _key(ax, roles, shades):
    from matplotlib.patches import Patch

    patches = [Patch(color=shades[role], label=role) for role in roles]
    patches.append(Patch(color=style.FAINT, label="idle"))
    look = {"ncols": min(len(patches), 6), "handlelength": 1.0, "handleheight": 1.0}
    look |= {"borderaxespad": 0, "columnspacing": 1.6}
    ax.legend(handles=patches, loc="lower left", bbox_to_anchor=(0, 1.01), **look)
    if title := ax.get_title(loc="left"):
        ax.set_title(title, loc="left", pad=16 + 20 * -(-len(patches) // 6))
