"""A matrix of queries and keys in tiles: who works on which, when, and which the mask hides."""

from minigrad.viz import style

EDGE = {"edgecolor": style.PAPER, "linewidth": 1.5}


@style.styled
def attention_tiles(
    panels, *, names="rank {}", notes=None, key=True, title=None, width=13.0, height=None
):
    """Draws panels of tiles, queries downwards and keys to the right; a colour a rank.

    Arguments: panels: name -> (n, tiles), where n is the number of chunks along each side and tiles
    is [(row, column, rank, label)], each a tile that is worked on, or [(row, column, rank, label,
    cut)] with cut=True for a tile of which only the lower triangle counts; tiles not named are
    grey: hidden, or somebody else's; names: of ranks, a pattern or a list; notes: panel -> a line
    below it; key: whether colours are explained; title: the finding; width, height: in inches.
    Returns the figure. Raises ValueError for tiles outside the matrix, or no panels.
    """
    if not panels:
        raise ValueError("there are no panels to draw")
    for name, (n, tiles) in panels.items():
        for row, column, *_ in tiles:
            if not (0 <= row < n and 0 <= column < n):
                raise ValueError(f"{name!r}: tile ({row}, {column}) of {n} × {n}")
    ranks = sorted({rank for _, tiles in panels.values() for _, _, rank, *_ in tiles})
    shades = {rank: style.CYCLE[rank % len(style.CYCLE)] for rank in ranks}
    side = width / len(panels)
    picture, axes = style.figure(1, len(panels), width=width, height=height or side + 1.1)
    axes = [axes] if len(panels) == 1 else list(axes)
    for ax, (name, (n, tiles)) in zip(axes, panels.items()):
        _panel(ax, n, tiles, shades, 72 * 0.8 * side / n)
        ax.set_title(name, fontsize=style.BODY, loc="center")
        ax.set_xlabel("\n".join(["keys", (notes or {}).get(name, "")]).strip())
    axes[0].set_ylabel("queries")
    if title:
        picture.suptitle(style.wrap(title, 72 * width - 40, style.TITLE, "bold"), x=0.01, ha="left",
                         fontsize=style.TITLE, fontweight="bold")  # fmt: skip
    if key:
        _key(picture, shades, names)
    return picture


def _panel(ax, n, tiles, shades, points):
    from matplotlib.patches import Polygon, Rectangle

    ax.add_patch(Rectangle((0, 0), n, n, facecolor=style.FAINT, linewidth=0))
    for row, column, rank, label, *cut in tiles:
        shade = shades[rank]
        if cut and cut[0]:
            corners = [(column, row), (column, row + 1), (column + 1, row + 1)]
            ax.add_patch(Polygon(corners, facecolor=shade, **EDGE))
            place = column + 0.32, row + 0.68
        else:
            ax.add_patch(Rectangle((column, row), 1, 1, facecolor=shade, **EDGE))
            place = column + 0.5, row + 0.5
        if label != "" and style.text_size(str(label), style.SMALL)[0] + 4 < points:
            look = {"ha": "center", "va": "center_baseline", "fontsize": style.SMALL}
            ax.text(*place, str(label), color=style.text_on(shade), fontweight="bold", **look)
    ax.set(xlim=(0, n), ylim=(n, 0), aspect="equal")
    ax.set_xticks([i + 0.5 for i in range(n)], range(n))
    ax.set_yticks([i + 0.5 for i in range(n)], range(n))
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _key(picture, shades, names):
    from matplotlib.patches import Patch

    said = [names.format(r) if isinstance(names, str) else names[r] for r in shades]
    patches = [Patch(color=shade, label=word) for shade, word in zip(shades.values(), said)]
    patches.append(Patch(color=style.FAINT, label="not worked on"))
    look = {"ncols": min(len(patches), 8), "handlelength": 1.0, "handleheight": 1.0}
    picture.legend(handles=patches, loc="outside lower center", columnspacing=1.6, **look)
