"""Loss surfaces in the plane, and the paths that optimizers take down them."""

import numpy as np

from minigrad.viz import style

SHAPES = "osD^vPX*"


@style.styled
def loss_surface(
    f,
    xrange,
    yrange,
    paths=None,
    *,
    minimum=None,
    levels=16,
    log=True,
    points=200,
    xlabel="$w_1$",
    ylabel="$w_2$",
    title=None,
    colors=None,
    width=9.5,
    height=6.0,
    ax=None,
):
    """Draws the contours of a function of two numbers, and paths over them.

    Arguments: f: takes two arrays of one shape, returns an array of that shape; xrange, yrange:
    (low, high); paths: name -> (steps + 1, 2) array of the points visited, drawn with a ring at
    the start and a filled sign at the end, steps as dots if there are few; minimum: (x, y),
    marked by a star; levels: how many contours; log: contours at equal ratios above the lowest
    value (valleys show), else at equal steps; points: of the grid in each direction; colors:
    name -> role or colour; ax: axes to draw on.
    Returns the figure, or the axes that were given.
    Raises ValueError where f returns another shape, or a path is not of shape (n, 2).
    """
    paths = {str(name): np.asarray(path, dtype=float) for name, path in (paths or {}).items()}
    for name, path in paths.items():
        if path.ndim != 2 or path.shape[1] != 2 or len(path) == 0:
            raise ValueError(f"path {name!r} has shape {path.shape}, it must be (steps + 1, 2)")
    x, y = np.meshgrid(np.linspace(*xrange, points), np.linspace(*yrange, points))
    z = np.asarray(f(x, y), dtype=float)
    if z.shape != x.shape:
        raise ValueError(
            f"f of two arrays of shape {x.shape} has shape {z.shape}: it must work point by point "
            "(numpy.vectorize(f) does that for a function of two numbers)"
        )
    owner, ax = style.canvas(ax, width, height)
    style.set_title(ax, title)
    heights = _contours(z, levels, log)
    shading = {"cmap": style.colormap("surface"), "norm": _by_rank(heights), "extend": "max"}
    ax.contourf(x, y, z, heights, **shading)
    ax.contour(x, y, z, heights, colors="#7FA6BC", linewidths=0.8)
    ax.set(xlim=xrange, ylim=yrange, xlabel=xlabel, ylabel=ylabel)
    shades = style.colors_for(paths, colors)
    for number, (name, path) in enumerate(paths.items()):
        _path(ax, path, shades[name], SHAPES[number % len(SHAPES)], number)
    if minimum is not None:
        star = {"markersize": 20, "color": style.COLORS["highlight"], "markeredgecolor": style.INK}
        ax.plot(*minimum, marker="*", zorder=5, **star)
    _names(ax, paths, shades, minimum is not None)
    return owner


def _contours(z, levels, log):
    """Increasing heights of the contours; the last leaves out the few highest points."""
    known = z[np.isfinite(z)]
    if known.size == 0:
        raise ValueError("f is nowhere finite in this range")
    low, high = known.min(), np.quantile(known, 0.97)
    if not high > low:
        return low + np.array([0.0, max(abs(low), 1.0) * 1e-6])
    if not log:
        return np.linspace(low, high, levels)
    span = high - low
    return np.concatenate([[low], low + np.geomspace(span / 10**3.2, span, levels - 1)])


def _by_rank(heights):
    """Gives each band between two contours the next colour, whatever its height."""
    from matplotlib.colors import BoundaryNorm

    return BoundaryNorm(heights, 256, extend="max")


def _path(ax, path, shade, sign, number):
    from matplotlib import patheffects

    glow = [patheffects.Stroke(linewidth=4.6, foreground=style.PAPER), patheffects.Normal()]
    dots = {"marker": "o", "markersize": 4, "markeredgecolor": "none"} if len(path) <= 60 else {}
    ax.plot(*path.T, color=shade, zorder=3 + 0.01 * number, path_effects=glow, **dots)
    ax.plot(*path[0], zorder=4, **_sign("start", style.INK))
    ax.plot(*path[-1], zorder=6 + 0.01 * number, **_sign(sign, shade))


def _sign(sign, shade):
    """The look of a path's end, or of its start: a ring."""
    if sign == "start":
        ring = {"marker": "o", "markersize": 12, "markerfacecolor": style.PAPER}
        return ring | {"markeredgecolor": shade, "markeredgewidth": 2.6, "linestyle": "none"}
    full = {"marker": sign, "markersize": 12, "markeredgecolor": style.PAPER}
    return full | {"color": shade, "markeredgewidth": 1.4}


def _names(ax, paths, shades, star):
    """The paths' names beside the picture, the highest end first, with the signs at their ends."""
    from matplotlib.lines import Line2D

    signs = {name: SHAPES[number % len(SHAPES)] for number, name in enumerate(paths)}
    order = sorted(paths, key=lambda name: -np.nan_to_num(paths[name][-1][1], nan=-np.inf))
    handles = [Line2D([], [], label=name, **_sign(signs[name], shades[name])) for name in order]
    if paths:
        handles.append(Line2D([], [], label="start", **_sign("start", style.INK)))
    if star:
        look = {"marker": "*", "markersize": 18, "linestyle": "none", "markeredgecolor": style.INK}
        handles.append(Line2D([], [], label="minimum", color=style.color("highlight"), **look))
    if handles:
        place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "labelspacing": 0.9}
        legend = ax.legend(handles=handles, fontsize=style.BODY, borderaxespad=0, **place)
        for text in legend.get_texts():
            text.set(fontweight="bold", color=style.ink(shades.get(text.get_text(), style.INK)))
