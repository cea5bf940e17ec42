"""Matrices as coloured cells: attention maps, and heat maps of anything."""

import numpy as np

from minigrad.viz import style


@style.styled
def heatmap(
    matrix,
    rows=None,
    columns=None,
    *,
    annotate=None,
    signed=None,
    mask=None,
    label="",
    xlabel="",
    ylabel="",
    title=None,
    width=None,
    height=None,
    ax=None,
):
    """Draws a matrix as coloured cells.

    Arguments: matrix: (n, m); rows, columns: labels; annotate: write the numbers into the cells
    (default: up to 12 columns); signed: colours from blue (negative) over white to vermillion
    (default: where there are negative numbers); mask: (n, m), hatched where False; label: what
    the colours measure; width, height: in inches; ax: axes to draw on.
    Returns the figure, or the axes that were given.
    Raises ValueError for what is no matrix, and for labels that do not fit it.
    """
    matrix = np.asarray(matrix, dtype=float)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"a heat map draws a matrix (n, m), not shape {matrix.shape}")
    n, m = matrix.shape
    mask = _mask(True if mask is None else mask, (n, m))
    seen = matrix[mask & np.isfinite(matrix)]
    signed = bool((seen < 0).any()) if signed is None else signed
    limit = float(np.abs(seen).max()) if seen.size else 1.0
    cell = min(1.0, 7.5 / m, 6.5 / n)  # inches
    width, height = width or max(cell * m + 2.4, 5.0), height or max(cell * n + 1.4, 2.6)
    owner, ax = style.canvas(ax, width, height, layout="compressed")
    style.set_title(ax, title)
    limit = limit or 1.0
    limits = (-limit, limit) if signed else (min(0.0, seen.min(initial=0.0)), limit)
    image = _cells(ax, matrix, mask, "signed" if signed else "value", limits)
    _ticks(ax, rows, columns, n, m)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if annotate or (annotate is None and m <= 12):
        _numbers(ax, matrix, mask, image)
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.95, pad=0.03)
    bar.set_label(label)
    bar.outline.set_visible(False)
    return owner


@style.styled
def attention_maps(
    weights, tokens=None, *, keys=None, titles=None, mask=None, columns=None, title=None, width=None
):
    """Draws attention weights, a panel a head (or layer): row i shows where token i looks.

    Arguments: weights: (n, L, S) or (L, S), rows sum to 1; tokens: L labels of the rows, and of
    the columns too unless keys has S others; titles: one a panel; mask: True attends, (L, S) or
    (n, L, S) or "causal" (aligned bottom right): cells where it is False are hatched; columns:
    panels in a row; title: the finding; width: in inches.
    Returns the figure. All panels share one scale of colours.
    Raises ValueError for shapes, tokens or titles that do not fit together.
    """
    weights = np.asarray(weights, dtype=float)
    weights = weights[None] if weights.ndim == 2 else weights
    if weights.ndim != 3 or weights.size == 0:
        raise ValueError(f"attention weights must be (n, L, S), not {weights.shape}")
    n, length, seen = weights.shape
    if titles is not None and len(titles) != n:
        raise ValueError(f"{len(titles)} titles for {n} maps")
    if isinstance(mask, str):
        if mask != "causal":
            raise ValueError(f'mask is {mask!r}: give True/False of shape (L, S), or "causal"')
        mask = np.tri(length, seen, seen - length, dtype=bool)
    mask = _mask(True if mask is None else mask, weights.shape)
    keys = tokens if keys is None and length == seen else keys
    picture, axes, pitches = _panels(n, length, seen, columns, width, bool(title))
    columns = axes.shape[1]
    limits = 0.0, float(np.where(mask, weights, 0.0).max()) or 1.0
    for i, ax in enumerate(axes.flat):
        if i >= n:
            ax.set_axis_off()
            continue
        image = _cells(ax, weights[i], mask[i], "attention", limits)
        _ticks(ax, tokens, keys, length, seen, pitches, literal=True)
        if titles is not None:
            style.set_title(ax, titles[i])
        if i % columns == 0:
            ax.set_ylabel("token that looks")
        if i + columns >= n:
            ax.set_xlabel("token looked at")
    bar = picture.colorbar(image, ax=list(axes.flat), shrink=0.95, pad=0.02)
    bar.set_label("attention weight")
    bar.outline.set_visible(False)
    if title:
        lines = style.wrap(title, picture.get_size_inches()[0] * 72 - 20, style.TITLE, "bold")
        picture.suptitle(lines, x=0.01, ha="left", fontsize=style.TITLE, fontweight="bold")
    _trim(picture)
    return picture


def _trim(picture):
    """Takes away the empty strip that short labels leave below, where all fits without it."""
    picture.draw_without_rendering()
    width, height = picture.get_size_inches()
    spare = picture.get_tightbbox().y0 - 0.1  # inches
    if spare > 0.05:
        picture.set_size_inches(width, height - spare)
        picture.draw_without_rendering()
        box = picture.get_tightbbox()
        if box.y0 < 0 or box.y1 > height - spare:
            picture.set_size_inches(width, height)


def _panels(n, length, seen, columns, width, titled):
    """(figure, axes, points from a row and from a column to the next) for n maps (length, seen)."""
    side = min(max(2.6, 1.2 * style.SMALL * max(length, seen) / 72), 6.0)  # inches, of a panel
    if width is None:
        columns = columns or max(1, min(n, int(11.2 // (side + 0.4))))
        if n % columns and columns > 1:  # five maps stand as three and two, not as four and one
            columns = -(-n // -(-n // columns))
        width = columns * (side + 0.4) + 1.9
    else:
        columns = columns or min(n, 4)
        side = (width - 1.9) / columns - 0.4
    rows, tall = -(-n // columns), side * min(max(length / seen, 0.2), 3.0)
    size = {"width": width, "height": rows * (tall + 0.85) + (1.1 if titled else 0.7)}
    picture, axes = style.figure(rows, columns, squeeze=False, layout="compressed", **size)
    return picture, axes, (72 * tall / length, 72 * side / seen)


def _mask(mask, shape):
    mask = np.asarray(mask, dtype=bool)
    if mask.ndim and mask.shape not in (shape, shape[-2:]):
        raise ValueError(f"mask has shape {mask.shape}, what it masks {shape}")
    return np.broadcast_to(mask, shape)


def _cells(ax, matrix, mask, colors, limits):
    """The image of a matrix; cells where mask is False are grey and hatched."""
    n, m = matrix.shape
    shown = np.ma.masked_where(~mask | ~np.isfinite(matrix), matrix)
    image = ax.imshow(shown, cmap=style.colormap(colors), vmin=limits[0], vmax=limits[1])
    if not mask.all():
        _hatch(ax, ~mask)
    if max(n, m) <= 24:
        for at in range(1, m):
            ax.axvline(at - 0.5, color=style.PAPER, linewidth=1.2)
        for at in range(1, n):
            ax.axhline(at - 0.5, color=style.PAPER, linewidth=1.2)
    for spine in ax.spines.values():
        spine.set_visible(True)
        spine.set(color="#9A9A9A", linewidth=1.0)
    ax.tick_params(length=0)
    return image


def _hatch(ax, cells):
    """Hatches the cells that are True, as one shape."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    squares = []
    for row, column in zip(*np.nonzero(cells), strict=True):
        corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]) - 0.5 + (column, row)
        squares.append(Path(corners, closed=True))
    look = {"facecolor": "#F0F0F0", "edgecolor": "#B5B5B5", "linewidth": 0, "hatch": "////"}
    ax.add_patch(PathPatch(Path.make_compound_path(*squares), zorder=1.5, **look))


def _ticks(ax, rows, columns, n, m, pitches=None, literal=False):
    """Labels of rows and columns; where they would touch, only every second, fifth ... of them.

    pitches: points from one row, and one column, to the next (default: as the axes stand now).
    """
    if pitches is None:
        ax.figure.draw_without_rendering()
        box = ax.get_window_extent()
        pitches = [size * 72 / ax.figure.dpi for size in (box.height / n, box.width / m)]
    both = (rows, n, "row", pitches[0]), (columns, m, "column", pitches[1])
    for labels, count, what, pitch in both:
        axis = ax.yaxis if what == "row" else ax.xaxis
        texts = [str(i) for i in range(count)] if labels is None else [str(t) for t in labels]
        if len(texts) != count:
            raise ValueError(f"{len(texts)} {what} labels for {count} {what}s")
        texts = [style.visible(text) for text in texts] if literal else texts
        widest = max(style.text_size(text, style.SMALL)[0] for text in texts)
        upright = what == "column" and labels is not None and widest + 4 > pitch
        need = 1.15 * style.SMALL if what == "row" or upright else widest + 6
        every = next(k for k in (1, 2, 5, 10, 20, 50, 100, 1000, 10**6) if k * pitch >= need)
        axis.set_ticks(range(0, count, every), texts[::every], parse_math=False)
        if upright:
            ax.tick_params(axis="x", rotation=90)


def _numbers(ax, matrix, mask, image):
    size = style.BODY if matrix.shape[1] <= 8 else style.SMALL
    for (row, column), value in np.ndenumerate(matrix):
        if mask[row, column]:
            shade = image.cmap(image.norm(value)) if np.isfinite(value) else (1, 1, 1, 1)
            dark = 0.2126 * shade[0] + 0.7152 * shade[1] + 0.0722 * shade[2] < 0.5
            text = style.number(value, 2)
            look = {"fontsize": size, "color": style.PAPER if dark else style.INK}
            ax.text(column, row, text, ha="center", va="center", **look)
