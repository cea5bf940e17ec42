"""When the tokens of answers came: requests as rows on one clock."""

import numpy as np

from minigrad.viz import style

TALL = 0.34  # half the height of a row's block; a row is 1 high
UNITS = {"s": 1.0, "ms": 1e3}
BELOW = 1.25  # room under the row that is measured


@style.styled
def token_timeline(
    requests, *, measured=None, unit=None, title=None, width=12.0, height=None, ax=None
):
    """Draws requests as rows: a block while the prompt is read, then a tick for each token.

    Arguments: requests: name -> (asked, started, arrivals), in seconds on one clock: when the
    request came, when its prompt began to be read (between the two it waits), and when each token
    was there, the first at the block's end; measured: name of a request under which TTFT, TPOT and
    latency are marked; unit: of the axis, "s" or "ms" (default: by how long it all took); title:
    the finding; width, height: in inches; ax: axes to draw on.
    Returns the figure, or the axes that were given.
    Raises ValueError for no request, no token, times that run backwards, and an unknown unit.
    """
    rows = {str(name): _row(str(name), *request) for name, request in requests.items()}
    if not rows:
        raise ValueError("there are no requests to draw")
    if measured is not None and measured not in rows:
        raise ValueError(f"measured: there is no request {measured!r}")
    if unit not in (None, *UNITS):
        raise ValueError(f'unit is {unit!r}: it must be "s" or "ms"')
    places, depth = {}, 0.0
    for name in rows:
        places[name] = depth
        depth += 1 + BELOW * (name == measured)
    owner, ax = style.canvas(ax, width, height or 1.75 + 0.62 * depth)
    end = max(arrivals[-1] for *_, arrivals in rows.values())
    start = min(asked for asked, *_ in rows.values())
    unit = unit or ("s" if end - start >= 1 else "ms")
    scale = UNITS[unit]
    _prepare(ax, places, depth, start * scale, end * scale, f"time ({unit})", title)
    for label, (asked, started, arrivals) in rows.items():
        y, ticks = places[label], np.array(arrivals) * scale
        _draw(ax, y, asked * scale, started * scale, ticks)
        if label == measured:
            _measure(ax, y + TALL, asked * scale, ticks)
    _key(ax, any(started > asked for asked, started, _ in rows.values()))
    return owner


def _row(name, asked, started, arrivals):
    times = [float(asked), float(started), *map(float, arrivals)]
    if len(times) < 3:
        raise ValueError(f"{name!r}: a request without a token has nothing to draw")
    if not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise ValueError(f"{name!r}: asked, started and arrivals must come in this order")
    return times[0], times[1], times[2:]


def _prepare(ax, places, depth, start, end, xlabel, title):
    style.set_title(ax, title)
    ax.set(xlabel=xlabel, xlim=(start, end + 0.015 * (end - start)), ylim=(depth - 0.45, -0.6))
    ax.set_yticks(list(places.values()), list(places), fontsize=style.BODY)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.grid(True, axis="x")


def _draw(ax, y, asked, started, ticks):
    block = {"height": 2 * TALL, "linewidth": 0}
    if started > asked:
        ax.barh(y, started - asked, left=asked, color=style.FAINT, **block)
    ax.barh(y, ticks[0] - started, left=started, color=style.color("prefill"), **block)
    if len(ticks) > 1:
        pale = style.tint("decode", 0.22)
        ax.barh(y, ticks[-1] - ticks[0], left=ticks[0], color=pale, **block)
    gap = _points(ax, ticks[-1] - ticks[0]) / (len(ticks) - 1) if len(ticks) > 1 else 9.0
    thin = min(2.6, max(0.5, 0.4 * gap))
    ax.vlines(ticks, y - TALL, y + TALL, color=style.color("decode"), linewidth=thin, zorder=3)


def _measure(ax, bottom, asked, ticks):
    """Marks TTFT and TPOT × (n − 1) on one line under the row, and latency under both."""
    line, gaps = bottom + 0.2, len(ticks) - 1
    _span(ax, asked, ticks[0], line, "TTFT", "prefill")
    if gaps:
        words = f"TPOT × {gaps}"
        lack = style.text_size("TTFT", style.SMALL, "bold")[0] + 12 - _points(ax, ticks[0] - asked)
        _span(ax, ticks[0], ticks[-1], line, words, "decode", indent=max(3.0, lack))
    _span(ax, asked, ticks[-1], line + 0.58, "latency", "text")


def _points(ax, length):
    """How many points a length of time takes on paper, about."""
    low, high = ax.get_xlim()
    return length / (high - low) * ax.figure.get_size_inches()[0] * 72 * 0.8


def _span(ax, left, right, y, text, role, indent=3.0):
    shade = style.ink(role)
    ax.plot([left, right], [y, y], color=shade, linewidth=1.8, solid_capstyle="butt")
    ax.vlines([left, right], y - 0.09, y + 0.09, color=shade, linewidth=1.8)
    look = {"fontsize": style.SMALL, "color": shade, "fontweight": "bold", "va": "top"}
    ax.annotate(text, (left, y), xytext=(indent, -5), textcoords="offset points", **look)


def _key(ax, waits):
    from matplotlib.patches import Patch

    parts = {"waits": style.FAINT} if waits else {}
    parts |= {"prefill": style.color("prefill"), "a token": style.color("decode")}
    patches = [Patch(color=shade, label=part) for part, shade in parts.items()]
    look = {"ncols": 3, "handlelength": 1.0, "handleheight": 1.0, "borderaxespad": 0}
    ax.legend(handles=patches, loc="lower left", bbox_to_anchor=(0, 1.0), columnspacing=1.6, **look)
    ax.set_title(ax.get_title(loc="left"), loc="left", pad=36)
