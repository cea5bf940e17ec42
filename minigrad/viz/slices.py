"""Matrices that several ranks share: whose slice is where, and what happens at the borders."""

from minigrad.viz import style
from minigrad.viz.pen import Pen, draw_key, key_rows

CUTS = (None, "rows", "columns", "partial")
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
SHEET, BORDER, SPACE = 9.0, 90.0, 11.0  # offset of sheets, width of a border, room beside an item
HEAD, FOOT, KEY = 20.0, 62.0, 30.0  # room above and below matrices, and for the key


@style.styled
def sliced_products(items, sizes, *, ranks=2, title=None, ax=None):
    """Draws a chain of products whose matrices are cut among ranks, a colour for each rank.

    Arguments: items, from left to right:
        a matrix, (name, (rows, columns)) or (name, (rows, columns), cut): cut "rows" or "columns"
        says which way it is sliced, "partial" that every rank has a whole one, to be summed, and
        none that all ranks have the same;
        a border, {"name": "f", "forward": "identity", "backward": "AllReduce"}: a line with what
        happens to values that cross it to the right, and to gradients to the left;
        a text, such as "·", "=" or "GELU".
    sizes: symbol -> length in points, of the rows' and columns' symbols; ranks: how many; title:
    the finding; ax: axes to draw on. Returns the figure, or the axes that were given.
    Raises ValueError for items that cannot be read and symbols without a size.
    """
    items = [_checked(item, sizes) for item in items]
    if not items:
        raise ValueError("there is nothing to draw")
    extra = SHEET * (ranks - 1)
    widths = [_width(item, sizes, extra) for item in items]
    highest = max((sizes[i[1][0]] for i in items if isinstance(i, tuple)), default=40.0) + extra
    wide = sum(widths) + SPACE * (len(items) + 1)
    tall = HEAD + highest + FOOT + KEY
    owner, ax, scale = style.bare_canvas(ax, wide, tall, title)
    pen = Pen(ax, scale, SPACE, FOOT + KEY + highest / 2)  # its y = 0: the middle of all matrices
    x = 0.0
    for item, width in zip(items, widths, strict=True):
        if isinstance(item, str):
            size = 26 if len(item) == 1 else style.BODY
            pen.text(x + width / 2, 0, item, size, fontweight="bold")
        elif isinstance(item, dict):
            _border(pen, x + width / 2, item, highest)
        else:
            _matrix(pen, x, item, sizes, ranks)
        x += width + SPACE
    entries = [(f"rank {r}", style.tint(_shade(r), 0.5), _shade(r)) for r in range(ranks)]
    if any(isinstance(item, tuple) and item[2] is None for item in items):
        entries.append(("the same on all ranks", style.tint("muted", 0.3), style.GREY))
    draw_key(Pen(ax, scale, SPACE, 0), key_rows(entries, wide - 2 * SPACE), KEY - 6)
    return owner


def _checked(item, sizes):
    if isinstance(item, str):
        return item
    if isinstance(item, dict):
        if set(item) != {"name", "forward", "backward"}:
            raise ValueError(f"a border has a name, forward and backward, not {sorted(item)}")
        return item
    name, shape, cut = (*item, None) if len(item) == 2 else item
    if cut not in CUTS:
        raise ValueError(f"{name}: cut is {cut!r}; expected one of {CUTS}")
    if missing := [symbol for symbol in shape if symbol not in sizes]:
        raise ValueError(f"{name}: no size is given for {missing[0]!r}")
    return name, tuple(shape), cut


def _width(item, sizes, extra):
    if isinstance(item, str):
        return max(20.0, style.text_size(item, style.BODY, "bold")[0])
    if isinstance(item, dict):
        return max(BORDER, *(style.text_size(f"← {item[k]}")[0] for k in ("forward", "backward")))
    return sizes[item[1][1]] + (extra if item[2] == "partial" else 0)


def _shade(rank):
    return style.CYCLE[rank % len(style.CYCLE)]


def _border(pen, x, item, highest):
    low, high = -highest / 2 - 4, highest / 2 + 4
    pen.line([(x, low), (x, high)], color=style.GREY, width=2.0, linestyle=(0, (4, 3)))
    pen.disc(x, 0, 17, fill=style.PAPER, edge=style.INK, line=2.0)
    pen.text(x, 0, item["name"], 18, fontweight="bold", fontstyle="italic")
    forward, backward = style.ink("forward"), style.ink("backward")
    pen.text(x, low - 16, f"{item['forward']} →", style.BODY, color=forward)
    pen.text(x, low - 36, f"← {item['backward']}", style.BODY, color=backward)


def _matrix(pen, x, item, sizes, ranks):
    name, (rows, columns), cut = item
    width, height = sizes[columns], sizes[rows]
    y, sheets = -height / 2, SHEET * (ranks - 1) if cut == "partial" else 0
    own = [name + str(rank).translate(SUBSCRIPTS) for rank in range(ranks)]
    if cut is None:
        look = {"fill": style.tint("muted", 0.3), "edge": style.GREY, "line": 2.2}
        pen.box(x, y, width, height, radius=3, **look)
        pen.text(x + width / 2, 0, name, 18, fontweight="bold")
    for rank in reversed(range(ranks)) if cut else ():  # rank 0 in front
        if cut == "partial":
            place = x + SHEET * rank, y + SHEET * rank - sheets / 2, width, height
        elif cut == "columns":
            place = x + rank * width / ranks, y, width / ranks - 2, height
        else:
            place = x, y + height * (1 - (rank + 1) / ranks), width, height / ranks - 2
        _slice(pen, *place, own[rank] if cut != "partial" or rank == 0 else "", _shade(rank))
    pen.text(x + (width + sheets) / 2, -height / 2 - sheets / 2 - 16, f"({rows}, {columns})")


def _slice(pen, x, y, width, height, name, shade):
    pen.box(x, y, width, height, radius=3, fill=style.tint(shade, 0.5), edge=shade, line=2.2)
    size = max(style.SMALL, min(18.0, 0.8 * height, 0.6 * width))
    pen.text(x + width / 2, y + height / 2, name, size, fontweight="bold")
