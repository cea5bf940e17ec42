"""Bars: one number a name, or parts of a whole."""

from minigrad.viz import style


@style.styled
def bars(
    values,
    *,
    unit="",
    xlabel="",
    title=None,
    highlight=(),
    colors=None,
    log=False,
    digits=3,
    width=10.0,
    height=None,
    ax=None,
):
    """Draws horizontal bars with their values at their ends, in the order given, first on top.

    Arguments: values: name -> number, or (name, number) pairs; unit: written after each number;
    highlight: names in the highlight's colour; colors: name -> role or colour; log: lengths on a
    logarithmic scale; digits: significant ones of the numbers; ax: axes to draw on.
    Returns the figure, or the axes that were given.
    Raises ValueError for numbers that are not finite, or on a logarithmic scale not positive.
    """
    pairs = [(str(name), float(value)) for name, value in _pairs(values)]
    _check(pairs, log)
    chosen = {str(k): style.color(v) for k, v in (colors or {}).items()}
    marked = {highlight} if isinstance(highlight, str) else set(highlight)
    if strange := sorted(marked - {name for name, _ in pairs}):
        raise ValueError(f"highlight: there is no bar {strange[0]!r}")
    owner, ax = style.canvas(ax, width, height or 1.4 + 0.55 * len(pairs))
    for row, (name, value) in enumerate(pairs):
        role = "highlight" if name in marked else "value"
        ax.barh(row, value, height=0.68, color=chosen.get(name, style.color(role)))
        _at_end(ax, row, value, _with_unit(value, unit, digits))
    _finish(ax, [name for name, _ in pairs], xlabel or unit, title, log)
    _make_room(ax, [(v, _with_unit(v, unit, digits)) for _, v in pairs], log)
    return owner


@style.styled
def stacked_bars(
    stacks,
    *,
    unit="",
    xlabel="",
    title=None,
    colors=None,
    digits=3,
    total=None,
    width=11.0,
    height=None,
    ax=None,
):
    """Draws horizontal bars made of parts, each part labelled where it fits, totals at the ends.

    Arguments: stacks: name of bar -> (name of part -> number >= 0); a part missing in a bar is 0;
    unit: of the numbers, "GB"; colors: part -> role or colour; total: the parts that the number at
    the end counts, None for all; ax: axes to draw on.
    Returns the figure, or the axes that were given; the parts' colours are explained above.
    Raises ValueError for numbers below 0 or not finite, or a part of the total that no bar has.
    """
    parts = list(dict.fromkeys(str(part) for bar in stacks.values() for part in bar))
    if strange := [part for part in total or () if part not in parts]:
        raise ValueError(f"no part {strange[0]!r} to count; there are {', '.join(parts)}")
    shades = style.colors_for(parts, colors)
    names, totals = [str(name) for name in stacks], []
    owner, ax = style.canvas(ax, width, height or 2.1 + 0.62 * len(names))
    longest = max((sum(bar.values()) for bar in stacks.values()), default=1.0) or 1.0
    for row, (name, bar) in enumerate(stacks.items()):
        bar = {str(part): float(value) for part, value in bar.items()}
        for part, value in bar.items():
            if not 0 <= value < float("inf"):
                raise ValueError(f"bar {name!r}, part {part!r}: {value} is no length of a bar")
        start = 0.0
        for part in parts:
            value = bar.get(part, 0.0)
            look = {"color": shades[part], "edgecolor": style.PAPER, "linewidth": 1.5}
            ax.barh(row, value, left=start, height=0.7, label=part if row == 0 else None, **look)
            text = style.number(value, digits)
            room = value / longest * width * 72 * 0.62
            if room > style.text_size(text, style.SMALL, "bold")[0] + 8:
                look = {"fontsize": style.SMALL, "color": style.text_on(shades[part])}
                middle = {"ha": "center", "va": "center_baseline", "fontweight": "bold"}
                ax.text(start + value / 2, row, text, **middle, **look)
            start += value
        counted = sum(bar.get(part, 0.0) for part in (parts if total is None else total))
        totals.append((start, _with_unit(counted, unit, digits)))
        _at_end(ax, row, *totals[-1])
    _finish(ax, names, xlabel or unit, title, log=False)
    _make_room(ax, totals, log=False)
    _key(ax, parts, shades)
    return owner


def _pairs(values):
    return values.items() if hasattr(values, "items") else list(values)


def _check(pairs, log):
    for name, value in pairs:
        if not abs(value) < float("inf"):
            raise ValueError(f"bar {name!r}: {value} is no length of a bar")
        if log and value <= 0:
            raise ValueError(f"bar {name!r}: {value} has no place on a logarithmic scale")


def _with_unit(value, unit, digits):
    text = style.number(value, digits)
    return f"{text}{'' if unit in ('', '%', '×') else ' '}{unit}"


def _at_end(ax, row, value, text):
    side = {"ha": "right" if value < 0 else "left", "va": "center_baseline", "fontweight": "bold"}
    at = {"xytext": (-6 if value < 0 else 6, 0), "textcoords": "offset points"}
    # kept out of the layout: _make_room widens the axes for it instead
    ax.annotate(text, (value, row), **at, **side, annotation_clip=False).set_in_layout(False)


def _finish(ax, names, xlabel, title, log):
    style.set_title(ax, title)
    ax.set_yticks(range(len(names)), names, fontsize=style.BODY)
    ax.set_ylim(len(names) - 0.45, -0.55)
    ax.set_xlabel(xlabel)
    if log:
        ax.set_xscale("log")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.grid(True, axis="x")


def _make_room(ax, ends, log):
    """Widens the axes until the longest bar's number fits beside it."""
    if not ends:
        return
    need = max(style.text_size(text, style.BODY, "bold")[0] for _, text in ends) + 16
    ax.figure.draw_without_rendering()
    share = need * ax.figure.dpi / 72 / ax.get_window_extent().width
    share = min(share, 0.5)
    high, low = max(value for value, _ in ends), min(value for value, _ in ends)
    if log:
        from math import log10

        bottom = 10 ** (log10(low) - max(0.3, 0.05 * (log10(high) - log10(low))))
        ax.set_xlim(bottom, bottom * (high / bottom) ** (1 / (1 - share)))
        return
    left, right = min(low, 0.0), max(high, 0.0)
    span = (right - left or 1.0) / (1 - share * ((low < 0) + (high >= 0)))
    ax.set_xlim(left - share * span * (low < 0), right + share * span * (high >= 0))
    if low < 0:
        ax.axvline(0, color=style.INK, linewidth=1.2)


def _key(ax, parts, shades):
    from matplotlib.patches import Patch

    patches = [Patch(color=shades[part], label=part) for part in parts]
    if patches:
        look = {"ncols": min(len(parts), 4), "handlelength": 1.0, "handleheight": 1.0}
        look |= {"borderaxespad": 0, "columnspacing": 1.6}
        ax.legend(handles=patches, loc="lower left", bbox_to_anchor=(0, 1.0), **look)
        title = ax.get_title(loc="left")
        rows = -(-len(parts) // 4)
        ax.set_title(title, loc="left", pad=16 + 20 * rows)
