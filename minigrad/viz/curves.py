"""Curves: anything against anything, named at their ends; the loss of a training run."""

import numpy as np

from minigrad.viz import style
from minigrad.viz.layout import spread

QUIET = "#5A5A5A"  # of rulers' names
# where the name of a level may stand: at an end of its line, above or below it
LEVEL_PLACES = [("right", "bottom"), ("right", "top"), ("left", "bottom"), ("left", "top")]


@style.styled
def lines(
    curves,
    *,
    xlabel="",
    ylabel="",
    title=None,
    log="",
    markers=False,
    dashed=(),
    colors=None,
    levels=None,
    marks=None,
    bands=None,
    labels="end",
    width=10.0,
    height=5.2,
    ax=None,
):
    """Draws curves, each named at its end in its own colour.

    Arguments: curves: name -> y, or name -> (x, y), of one length; xlabel, ylabel: with units;
    title: the finding; log: "x", "y" or "xy"; markers: True, or names: points on the curves;
    dashed: names drawn dashed (theory beside measurement); colors: name -> role or colour
    (default: the name's role, else the next colour); levels, marks: text -> y, text -> x of
    dotted lines across; bands: name -> (low, high), a shade round a curve; labels: "end",
    "legend" or None; width, height: in inches; ax: axes to draw on.
    Returns the figure, or the axes that were given.
    Raises ValueError for curves whose x and y differ in length.
    """
    data = {str(name): _points(name, curve) for name, curve in curves.items()}
    if set(log) - set("xy"):
        raise ValueError(f'log is {log!r}: it must be "", "x", "y" or "xy"')
    shades = style.colors_for(data, colors)
    owner, ax = style.canvas(ax, width, height)
    _prepare(ax, xlabel, ylabel, title, log)
    named = set(data) - set(dashed) if markers is True else set(markers or ())
    for name, (x, y) in data.items():
        look = {"linestyle": "--" if name in dashed else "-", "color": shades[name]}
        shown = name in named or _lone_points(y)
        dots = {"marker": "o", "markeredgecolor": style.PAPER} if shown else {}
        ax.plot(x, y, label=name, **look, **dots)
    for name, (low, high) in (bands or {}).items():
        if str(name) not in data:
            raise ValueError(f"band {name!r} belongs to no curve: there are {list(data)}")
        ax.fill_between(data[str(name)][0], low, high, color=shades[name], alpha=0.18, linewidth=0)
    _rulers(ax, levels or {}, marks or {})
    names = _names_of_levels(ax, levels or {})
    for axis, letter in ((ax.xaxis, "x"), (ax.yaxis, "y")):
        if letter in log:
            _plain_numbers(axis)
    drawn = {name: points for name, points in data.items() if np.isfinite(points[1]).any()}
    if labels == "legend":
        ax.legend()
    elif labels == "end" and drawn and (len(drawn) > 1 or not ylabel):
        _end_with(ax, max(float(np.nanmax(x)) for x, _ in drawn.values()))
        end_labels(ax, [(name, *_last(*drawn[name]), shades[name]) for name in drawn])
    _clear_of_curves(ax, names)
    return owner


@style.styled
def loss_curve(
    steps, losses, *, val=None, smooth=None, levels=None, title=None, ax=None, **options
):
    """Draws the loss of a training run: every step pale, the running mean strong.

    Arguments: steps, losses: of one length; val: (steps, losses) of the validation; smooth: the
    running mean's length in steps (default: a fiftieth of the run; 1 draws the losses alone);
    levels: text -> loss, dotted lines such as {"guessing": ln V}; title: the finding (default:
    from which loss to which it went); ax: axes to draw on; options: as for lines.
    Returns the figure, or the axes that were given.
    """
    x, y = _points("loss", (steps, losses))
    smooth = max(1, round(len(y) / 50)) if smooth is None else int(smooth)
    if smooth < 1:
        raise ValueError(f"smooth is {smooth}: it counts steps, at least 1")
    mean = running_mean(y, smooth)
    curves = {"training": (x, mean)}
    if val is not None:
        curves["validation"] = val
    if title is None and len(y) > 1:
        way = "fell" if mean[-1] < y[0] else "went"
        title = f"Loss {way} from {y[0]:.2f} to {mean[-1]:.2f} in {len(y):,} steps"
    options = {"xlabel": "step", "ylabel": "loss (nats per token)"} | options
    owner, ax = style.canvas(ax, options.pop("width", 10.0), options.pop("height", 5.2))
    if smooth > 1:
        pale = style.tint("training", 0.3)
        ax.plot(x, y, color=pale, linewidth=1.2, zorder=1.5)
    few = {"markers": ["validation"] if val is not None and len(val[0]) <= 40 else False}
    lines(curves, levels=levels, title=title, ax=ax, **(few | options))
    return owner


def running_mean(values, length):
    """The mean of each value and the `length` - 1 before it (fewer at the start), NaN left out."""
    values = np.asarray(values, dtype=float)
    known = np.isfinite(values)
    sums = np.cumsum(np.concatenate([[0.0], np.where(known, values, 0.0)]))
    counts = np.cumsum(np.concatenate([[0], known]))
    start = np.maximum(np.arange(1, len(values) + 1) - length, 0)
    with np.errstate(invalid="ignore"):
        return (sums[1:] - sums[start]) / (counts[1:] - counts[start])


def _points(name, curve):
    """(x, y) as arrays, from y alone or a pair."""
    pair = isinstance(curve, tuple) or (isinstance(curve, list) and len(curve) == 2)
    if pair and len(curve) == 2 and all(np.ndim(part) == 1 for part in curve):
        x, y = (np.asarray(part, dtype=float) for part in curve)
    else:
        y = np.asarray(curve, dtype=float)
        x = np.arange(len(y), dtype=float) if y.ndim == 1 else y
    if x.shape != y.shape or y.ndim != 1:
        raise ValueError(f"curve {name!r}: x has shape {x.shape}, y {y.shape}; both must be (n,)")
    return x, y


def _lone_points(y):
    """Whether a point stands between two gaps, where no line would show it."""
    known = np.concatenate([[False], np.isfinite(y), [False]])
    return bool((known[1:-1] & ~known[:-2] & ~known[2:]).any())


def _last(x, y):
    known = np.flatnonzero(np.isfinite(y))
    return x[known[-1]], y[known[-1]]


def _prepare(ax, xlabel, ylabel, title, log):
    style.set_title(ax, title)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.grid(True, axis="y")
    if "x" in log:
        ax.set_xscale("log")
    if "y" in log:
        ax.set_yscale("log")


def _end_with(ax, last):
    """Ends the x axis just behind its last point, where the names of the curves begin."""
    low = ax.get_xlim()[0]
    log = ax.get_xscale() == "log"
    if last > low:
        ax.set_xlim(right=last * (last / low) ** 0.012 if log else last + 0.012 * (last - low))


def _plain_numbers(axis):
    """Numbers such as 0.5 and 200, not powers of ten, on a logarithmic axis that has few others."""
    from matplotlib.ticker import LogFormatterSciNotation

    class Plain(LogFormatterSciNotation):
        def __call__(self, x, pos=None):
            return style.number(x) if super().__call__(x, pos) else ""

    low, high = sorted(axis.get_view_interval())
    if low > 0.009 and high < 11_000:
        axis.set_major_formatter(Plain())
        axis.set_minor_formatter(Plain(minor_thresholds=(1.5, 0.5)))


def _rulers(ax, levels, marks):
    for y in levels.values():
        ax.axhline(y, color=style.GREY, linewidth=1.6, linestyle=":", zorder=1)
    place = {"fontsize": style.SMALL, "color": QUIET}
    for text, x in marks.items():
        ax.axvline(x, color=style.GREY, linewidth=1.6, linestyle=":", zorder=1)
        at = {"xy": (x, 1), "xycoords": ("data", "axes fraction"), "ha": "left", "va": "top"}
        ax.annotate(text, xytext=(5, -2), textcoords="offset points", **at, **place)


def _names_of_levels(ax, levels):
    """The texts of the dotted lines, each above the right end of its own."""
    at = {"textcoords": "offset points", "xycoords": ("axes fraction", "data")}
    at |= {"xytext": (-4, 3), "ha": "right", "va": "bottom"}
    look = {"fontsize": style.SMALL, "color": QUIET}
    return [ax.annotate(text, (1, y), **at, **look) for text, y in levels.items()]


def _clear_of_curves(ax, names):
    """Moves the names of levels below their lines, or to the left, where that frees them of curves
    and of each other."""
    if not names:
        return
    ax.figure.draw_without_rendering()
    curves = [line for line in ax.lines if line.get_transform() == ax.transData]
    points = np.concatenate([_along(ax.transData.transform(line.get_xydata())) for line in curves])
    taken = []
    for name in names:
        y, hits = name.xy[1], []
        for side, place in enumerate(LEVEL_PLACES):
            box = _put(name, y, *place)
            inside = ax.bbox.y0 <= box.y0 and box.y1 <= ax.bbox.y1
            worse = 1000 * (box.count_overlaps(taken) + (not inside))
            hits.append((box.count_contains(points) + worse, side))
        taken.append(_put(name, y, *LEVEL_PLACES[min(hits)[1]]))


def _put(name, y, ha, va):
    """The box, in pixels, of the name of a level at one of its places."""
    name.xy = (float(ha == "right"), y)
    name.set_position((-4 if ha == "right" else 4, 3 if va == "bottom" else -3))
    name.set(ha=ha, va=va)
    return name.get_window_extent()


def _along(corners, pieces=16):
    """Points on the way from corner to corner (n, 2), close enough to be counted."""
    steps = np.linspace(0, 1, pieces, endpoint=False)[:, None]
    between = corners[:-1, None] + steps * np.diff(corners, axis=0)[:, None]  # (n − 1, pieces, 2)
    return np.concatenate([between.reshape(-1, 2), corners])


def end_labels(ax, ends, size=style.BODY):
    """Writes names at the right edge of the axes, at the height of the curves' ends, spread apart.

    Arguments: ends: (name, x, y, colour) of each curve's end, in data coordinates.
    A thin line leads from each end to its name where not all of them are side by side.
    """
    ax.figure.draw_without_rendering()
    box = ax.get_window_extent()
    point = ax.figure.dpi / 72
    texts = [style.wrap(name, 170, size) for name, *_ in ends]
    pixels = [ax.transData.transform((x, y)) for _, x, y, _ in ends]
    order = sorted(range(len(ends)), key=lambda i: (pixels[i][1], i))
    heights = [style.text_size(texts[i], size)[1] * point for i in order]
    placed = spread([pixels[i][1] for i in order], heights)
    # All names stand in one line: further out if one of them needs a leader.
    near = all(
        abs(y - pixels[i][1]) < 4 * point and box.x1 - pixels[i][0] < 12 * point
        for i, y in zip(order, placed, strict=True)
    )
    for i, y in zip(order, placed, strict=True):
        _, at_x, at_y, shade = ends[i]
        leader = {"arrowstyle": "-", "color": shade, "linewidth": 1.0, "alpha": 0.7}
        leader |= {"shrinkA": 2, "shrinkB": 2, "relpos": (0.0, 0.5)}
        ax.annotate(
            texts[i],
            xy=(at_x, at_y),
            xytext=(1 + (10 if near else 26) * point / box.width, (y - box.y0) / box.height),
            textcoords="axes fraction",
            arrowprops=None if near else leader,
            annotation_clip=False,
            va="center",
            fontsize=size,
            fontweight="bold",
            color=style.ink(shade),
        )
