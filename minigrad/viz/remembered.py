"""What a cache remembers of one token, as blocks to scale, and which queries read which block."""

from minigrad.viz import style
from minigrad.viz.pen import Pen

BOX, BLOCK, RISE, STEP = 24.0, 34.0, 40.0, 34.0  # in points: a query, a block's height, gaps
LEAST = 17.0  # between the middles of two queries


@style.styled
def cache_blocks(designs, *, unit="H", scale=34.0, title=None, ax=None):
    """Draws, for each design, the query heads and under them the blocks of numbers they read.

    Arguments: designs: name -> [(heads, parts), ...], where parts is {label: size} of blocks that
    lie side by side, and heads how many queries read them; unit: of the sizes; scale: points a
    unit; title: the finding; ax: axes to draw on. Blocks are as wide as their sizes say, and the
    sum of them stands at the right of each row. A block too narrow for its label has it below.
    Returns the figure, or the axes that were given.
    Raises ValueError for no design, no queries, and sizes that are not positive.
    """
    designs = {str(name): [(n, dict(parts)) for n, parts in d] for name, d in designs.items()}
    if not designs:
        raise ValueError("there are no designs to draw")
    for name, groups in designs.items():
        if not groups or any(heads < 1 for heads, _ in groups):
            raise ValueError(f"{name!r}: every block needs a query that reads it")
        if any(size <= 0 for _, parts in groups for size in parts.values()):
            raise ValueError(f"{name!r}: a block has no size")
    left = 16 + max(style.text_size(name, style.BODY, "bold")[0] for name in designs)
    sums = {
        name: f"{style.number(sum(sum(parts.values()) for _, parts in groups), 3)} {unit}"
        for name, groups in designs.items()
    }
    right = 24 + max(style.text_size(text, style.BODY, "bold")[0] for text in sums.values())
    wide = max(_width(groups, scale) for groups in designs.values())
    row = BOX + RISE + BLOCK + 16 + STEP
    owner, ax, shrunk = style.bare_canvas(
        ax, left + wide + right, row * len(designs) - STEP + 14, title
    )
    for number, (name, groups) in enumerate(designs.items()):
        bottom = 6 + row * (len(designs) - 1 - number)
        pen = Pen(ax, shrunk, left, bottom)
        pen.text(-left + 8, 16 + BLOCK / 2, name, fontweight="bold", ha="left")
        pen.text(wide + right - 8, 16 + BLOCK / 2, sums[name], fontweight="bold", ha="right")
        _row(pen, groups, wide, scale)
    return owner


def _pitch(groups, scale):
    """Points from a query to the next, so that all blocks find room under their queries."""
    need = [sum(parts.values()) * scale + 6 for _, parts in groups]
    return max(LEAST, BOX + 4, *(width / heads for width, (heads, _) in zip(need, groups)))


def _width(groups, scale):
    return _pitch(groups, scale) * sum(heads for heads, _ in groups)


def _row(pen, groups, wide, scale):
    """Blocks from y = 16 up, queries above them, and lines between, in the middle of `wide`."""
    total = sum(heads for heads, _ in groups)
    pitch = max(_pitch(groups, scale), min(wide / total, 90.0))
    start, roof = (wide - pitch * total) / 2, 16 + BLOCK
    for number, (heads, parts) in enumerate(groups):
        shade = style.CYCLE[number % len(style.CYCLE)]
        middle = start + pitch * heads / 2
        for head in range(heads):
            x = start + pitch * (head + 0.5)
            pen.line([(x, roof + RISE), (middle, roof)], color=shade, width=2.2)
            look = {"fill": style.tint(shade, 0.25), "edge": shade, "radius": 5}
            pen.box(x - BOX / 2, roof + RISE, BOX, BOX, **look)
            pen.text(x, roof + RISE + BOX / 2, "q", style.SMALL)
        x = middle - sum(parts.values()) * scale / 2
        for place, (label, size) in enumerate(parts.items()):
            fill = shade if place % 2 == 0 else style.tint(shade, 0.45)
            width = size * scale
            pen.box(x + 1, 16, width - 2, BLOCK, radius=4, fill=fill, zorder=4)
            fits = style.text_size(label, style.SMALL)[0] + 6 <= width
            ink = style.text_on(fill) if fits else style.INK
            pen.text(x + width / 2, 16 + BLOCK / 2 if fits else 6, label, style.SMALL, color=ink)
            x += width
        start += pitch * heads
