"""The roofline of a machine, and measured work under it."""

import itertools

from minigrad.viz import style


@style.styled
def roofline(points, peak, bandwidth, *, title=None, colors=None, width=11.0, height=6.4, ax=None):
    """Draws how fast work ran against its arithmetic intensity (Williams et al. 2009).

    No work is faster than min(peak, bandwidth · intensity): the roof. Its corner is the machine's
    ops:byte ratio; work left of it waits for memory, work right of it for arithmetic.

    Arguments: points: name -> [(intensity, speed, label), ...], in FLOP/byte and FLOP/s, joined by
    a line in that order; peak: FLOP/s; bandwidth: bytes/s; title: the finding; colors: name -> role
    or colour; width, height: in inches; ax: axes to draw on. A label that finds no free place
    beside its point is left out.
    Returns the figure, or the axes that were given. Raises ValueError for numbers not above 0.
    """
    _check(points, peak, bandwidth)
    shades = style.colors_for(points, colors)
    owner, ax = style.canvas(ax, width, height)
    style.set_title(ax, title)
    letter, unit = ("T", 1e12) if peak >= 5e12 else ("G", 1e9)
    ax.set(xscale="log", yscale="log", xlabel="arithmetic intensity (FLOP/byte)")
    ax.set_ylabel(f"speed ({letter}FLOP/s)")
    every = [(x, y / unit) for series in points.values() for x, y, _ in series]
    roof, lines = _draw_roof(ax, every, peak / unit, bandwidth / unit)
    for name, series in points.items():
        x, y = [p[0] for p in series], [p[1] / unit for p in series]
        look = {"marker": "o", "markersize": 10, "markeredgecolor": style.PAPER}
        ax.plot(x, y, color=shades[name], linewidth=1.6, label=name, **look)
    _numbers(ax)
    taken = []
    if points:
        key = ax.legend(loc="upper left", fontsize=style.BODY)
        ax.figure.draw_without_rendering()
        taken.append(key.get_window_extent())
    taken += _name_roof(ax, peak / unit, bandwidth / unit, letter, bandwidth)
    taken += [_mark(ax, x, y, 6) for x, y in every]
    lines = [_mark(ax, x, y, 3) for x, y in lines]
    lines += [mark for series in points.values() for mark in _along(ax, series, unit)]
    # so much above the roof that a point below it cannot have its label there
    taken += [_mark(ax, x, y, 1, above=20) for x, y in roof]
    for i, (name, series) in enumerate(points.items()):
        for x, y, label in series:
            shade = style.ink(shades[name])
            _label(ax, x, y / unit, label, shade, above=i % 2 == 0, taken=taken, lines=lines)
    return owner


def _draw_roof(ax, points, peak, bandwidth):
    """Draws the roof over all points, and a line down from its corner; gives places (x, y) along
    the one and the other. y is in the units of the axis, as bandwidth · intensity and peak are."""
    ridge = peak / bandwidth
    left, right = (pick([ridge, *(x for x, _ in points)]) for pick in (min, max))
    left, right = left / 2, right * 2.5
    low = min([bandwidth * left, *(y for _, y in points)]) / 2
    ax.set(xlim=(left, right), ylim=(low, peak * 2.6))
    corners = [bandwidth * left, peak, peak]
    ax.plot([left, ridge, right], corners, color=style.INK, linewidth=3)
    ax.plot([ridge, ridge], [low, peak], color=style.GREY, linestyle=":", linewidth=1.6)
    along = [left * (right / left) ** (i / 300) for i in range(301)]
    down = [(ridge, low * (peak / low) ** (i / 300)) for i in range(301)]
    return [(x, min(bandwidth * x, peak)) for x in along], down


def _name_roof(ax, peak, bandwidth, letter, bytes_per_second):
    """Writes the machine's numbers at its roof; gives the boxes of these texts."""
    (left, right), low, ridge = ax.get_xlim(), ax.get_ylim()[0], peak / bandwidth
    halfway = (left * ridge) ** 0.5
    speed = f"{style.number(bytes_per_second / 1e9)} GB/s"
    ax.figure.draw_without_rendering()
    return [
        _write(ax, f"{style.number(peak)} {letter}FLOP/s", right, peak, (-6, 6), "right"),
        _write(ax, f"{style.number(ridge)} FLOP/byte", ridge, peak, (0, 6), "center"),
        _write(ax, "waits for memory", ridge, low, (-10, 8), "right"),
        _write(ax, "waits for arithmetic", ridge, low, (10, 8), "left"),
        _write(ax, speed, halfway, bandwidth * halfway, (-10, 6), "right"),
    ]


def _check(points, peak, bandwidth):
    numbers = {"peak": peak, "bandwidth": bandwidth}
    for name, series in points.items():
        for x, y, label in series:
            numbers |= {f"{name} {label}: intensity": x, f"{name} {label}: speed": y}
    for name, value in numbers.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} is {value}: it has no place on a logarithmic scale")


def _numbers(ax):
    from matplotlib.ticker import FuncFormatter, NullFormatter

    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: style.number(value)))
        axis.set_minor_formatter(NullFormatter())
    ax.grid(True)


def _write(ax, text, x, y, offset, side):
    size = {"fontsize": style.SMALL, "color": style.INK, "va": "bottom"}
    at = {"xytext": offset, "textcoords": "offset points", "ha": side}
    return _box(ax, ax.annotate(text, (x, y), **at, **size))


def _box(ax, artist):
    artist.set_in_layout(False)  # so that the axes stay where all places were measured
    return artist.get_window_extent(ax.figure.canvas.get_renderer())


def _mark(ax, x, y, radius, above=0):
    """A box around a place, in points, stretched upwards by some more."""
    from matplotlib.transforms import Bbox

    at, dots = ax.transData.transform((x, y)), ax.figure.dpi / 72
    return Bbox([at - radius * dots, at + (radius * dots, (radius + above) * dots)])


def _along(ax, series, unit):
    """Boxes along the line through the points of a series."""
    for (x, y, _), (to_x, to_y, _) in itertools.pairwise(series):
        for i in range(1, 60):  # in equal steps on the paper, whose scales are logarithmic
            here = x * (to_x / x) ** (i / 60), y / unit * (to_y / y) ** (i / 60)
            yield _mark(ax, *here, 1)


def _label(ax, x, y, text, shade, above, taken, lines):
    """Writes beside a point, at the first of several places where nothing else is written, and no
    line runs if that can be had."""
    up = [(0, 9, "center", "bottom"), (-9, 3, "right", "bottom"), (0, 17, "center", "bottom")]
    down = [(0, -9, "center", "top"), (9, -3, "left", "top"), (0, -22, "center", "top")]
    places = up + down if above else down + up
    look = {"textcoords": "offset points", "fontsize": style.SMALL, "color": shade}
    for obstacles in (taken + lines, taken):
        for dx, dy, side, edge in places:
            note = ax.annotate(text, (x, y), xytext=(dx, dy), ha=side, va=edge, **look)
            box = _box(ax, note)
            if not any(box.overlaps(other) for other in obstacles):
                taken.append(box)
                return
            note.remove()
