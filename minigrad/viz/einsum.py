"""Index diagrams: which letters of an einsum stay, and which are summed."""

from dataclasses import dataclass

from minigrad.viz import style
from minigrad.viz.pen import Pen, draw_key, key_rows

CELL, NAME, BETWEEN = 46.0, 40.0, 34.0  # width of an index, of a name, between operands; points
RISE, FALL = 46.0, 78.0  # from the operands up to a sum, and down to the result
EDGE = 24.0


@dataclass
class _Strip:
    """An operand or the result: its name, its letters, their sizes, where it stands (left edge)."""

    name: str
    letters: list
    sizes: list
    left: float = 0.0

    @property
    def lead(self):
        """Width of the part that holds the name."""
        return max(NAME, style.text_size(self.name, 17, "bold")[0] + 20)

    @property
    def width(self):
        return self.lead + CELL * len(self.letters) + (6 if self.letters else 0)

    def x(self, place):
        return self.left + self.lead + CELL * (place + 0.5)


@style.styled
def einsum_diagram(subscripts, shapes=None, *, names=None, title=None, ax=None):
    """Draws an einsum: operands above, result below, a cell for every index.

    Letters of the result run down to it; the others meet in a sum sign above.

    Arguments: subscripts: as for einsum, as "bij,bjk->bik", "..." and the form without an arrow
    included; shapes: one a operand, for the sizes in the cells; names: of the operands, and one
    more for the result if wanted; title: the finding (default: which letters are summed);
    ax: axes to draw on.
    Returns the figure, or the axes that were given.
    Raises ValueError for letters or shapes that do not fit together.
    """
    operands, result = _parse(subscripts)
    sizes = _sizes(operands, shapes)
    names = _names(names, len(operands))
    strips = [
        _Strip(name, letters, [sizes.get(letter) for letter in letters])
        for name, letters in zip(names, [*operands, result], strict=True)
    ]
    summed = [letter for letter in sizes if letter not in result]
    levels = _levels(strips[:-1], summed)
    formula = _formula(strips, summed)
    width, top = _place(strips, formula, levels)
    owner, ax, scale = style.bare_canvas(ax, width, top, title or _finding(result, summed))
    pen = Pen(ax, scale)
    base = 74.0 + CELL + FALL  # lower edge of the operands
    for strip in strips[:-1]:
        _draw_strip(pen, strip, base, summed, style.tint("data", 0.35), style.color("data"))
    _draw_strip(pen, strips[-1], 74.0, summed, style.tint("value", 0.25), style.color("value"))
    _kept_legs(pen, strips, base)
    for letter in summed:
        _sum_legs(pen, strips[:-1], letter, base + CELL + RISE + 36 * levels[letter], base + CELL)
    pen.text(width / 2, 47, formula, style.BODY, family="DejaVu Sans Mono")
    entries = [("stays", style.color("value"), None), ("summed", style.color("highlight"), None)]
    draw_key(pen.moved(EDGE, 0), key_rows(entries, width), 26)
    return owner


def _parse(subscripts):
    """([letters of each operand], letters of the result); an ellipsis is the letter "…"."""
    text = subscripts.replace(" ", "").replace("...", "…")
    left, arrow, right = text.partition("->")
    operands = [list(part) for part in left.split(",")]
    everything = [letter for letters in operands for letter in letters]
    strange = [c for c in [*everything, *right] if not (c.isalpha() and c.isascii()) and c != "…"]
    if strange:
        raise ValueError(f"einsum {subscripts!r}: {strange[0]!r} is no index letter")
    if not arrow:
        once = sorted(c for c in set(everything) - {"…"} if everything.count(c) == 1)
        right = ("…" if "…" in everything else "") + "".join(once)
    for letter in right:
        if letter not in everything:
            raise ValueError(f"einsum {subscripts!r}: no operand has the result's {letter!r}")
        if right.count(letter) > 1:
            raise ValueError(f"einsum {subscripts!r}: the result has {letter!r} twice")
    return operands, list(right)


def _sizes(operands, shapes):
    """letter -> size (None if no shapes are given), letters in order of appearance."""
    sizes = dict.fromkeys(letter for letters in operands for letter in letters)
    if shapes is None:
        return sizes
    if len(shapes) != len(operands):
        raise ValueError(f"{len(shapes)} shapes for {len(operands)} operands")
    for letters, given in zip(operands, shapes, strict=True):
        shape, spelled = list(given), "".join(letters)
        if "…" in letters and len(shape) >= len(letters) - 1:
            at, more = letters.index("…"), len(shape) - len(letters) + 1
            shape[at : at + more] = [tuple(shape[at : at + more])]
        if len(shape) != len(letters):
            raise ValueError(
                f"operand {spelled!r} has {len(letters)} indices, its shape {tuple(given)}"
            )
        for letter, size in zip(letters, shape, strict=True):
            if letter != "…" and sizes[letter] not in (None, size):
                raise ValueError(f"index {letter!r} has sizes {sizes[letter]} and {size}")
            if letter != "…" or sizes[letter] is None or len(size) > len(sizes[letter]):
                sizes[letter] = size
    return sizes


def _names(names, count):
    names = list(names) if names is not None else [chr(ord("A") + i) for i in range(count)]
    if len(names) == count:
        names.append("out")
    if len(names) != count + 1:
        raise ValueError(f"{len(names)} names for {count} operands and a result")
    return names


def _levels(strips, summed):
    """letter -> how high its sum stands, so that sums over the same place do not collide."""
    taken, levels = [], {}
    spans = {letter: _span(strips, letter) for letter in summed}
    for letter in sorted(summed, key=lambda c: (spans[c][1] - spans[c][0], spans[c])):
        low, high = spans[letter]
        level = 0
        while level < len(taken) and any(low <= b and a <= high for a, b in taken[level]):
            level += 1
        if level == len(taken):
            taken.append([])
        taken[level].append((low, high))
        levels[letter] = level
    return levels


def _span(strips, letter):
    """First and last place of a letter, counted over the cells of all operands."""
    cells = [c for strip in strips for c in [None, *strip.letters]]
    places = [place for place, c in enumerate(cells) if c == letter]
    return places[0], places[-1]


def _place(strips, formula, levels):
    """Sets the left edges; returns the drawing's width and height."""
    row = sum(strip.width for strip in strips[:-1]) + BETWEEN * (len(strips) - 2)
    formula_width = 0.602 * style.BODY * len(formula)
    width = max(row, strips[-1].width, formula_width, 240.0) + 2 * EDGE
    x = (width - row) / 2
    for strip in strips[:-1]:
        strip.left = x
        x += strip.width + BETWEEN
    strips[-1].left = (width - strips[-1].width) / 2
    sums = RISE + 36 * max(levels.values()) + 24 if levels else 14
    return width, 74 + CELL + FALL + CELL + sums


def _draw_strip(pen, strip, bottom, summed, fill, edge):
    pen.box(strip.left, bottom - 4, strip.width, CELL + 8, fill=fill, edge=edge, line=2.0, radius=9)
    middle = bottom + CELL / 2
    pen.text(strip.left + strip.lead / 2, middle, strip.name, 17, fontweight="bold")
    for place, (letter, size) in enumerate(zip(strip.letters, strip.sizes, strict=True)):
        shade = style.color("highlight" if letter in summed else "value")
        x = strip.x(place)
        cell = {"fill": style.PAPER, "edge": shade, "line": 2.4, "zorder": 4}
        pen.box(x - CELL / 2 + 2, bottom, CELL - 4, CELL, radius=6, **cell)
        known = size is not None
        pen.text(x, middle + (9 if known else 0), letter, 18, fontweight="bold")
        if known:
            text = "×".join(map(str, size)) if isinstance(size, tuple) else str(size)
            pen.text(x, bottom + 11, text or "–", style.SMALL)


def _kept_legs(pen, strips, base):
    result = strips[-1]
    for strip in strips[:-1]:
        for place, letter in enumerate(strip.letters):
            if letter in result.letters:
                end = result.x(result.letters.index(letter)), 74.0 + CELL + 3
                ends = [(strip.x(place), base - 3), end]
                pen.curve(ends, color=style.color("value"), width=3.2, down=True)


def _sum_legs(pen, strips, letter, height, top):
    shade = style.color("highlight")
    xs = [s.x(place) for s in strips for place, c in enumerate(s.letters) if c == letter]
    for x in xs:
        pen.line([(x, top + 3), (x, height)], color=shade, width=3.2)
    pen.line([(min(xs), height), (max(xs), height)], color=shade, width=3.2)
    x = (min(xs) + max(xs)) / 2
    pen.box(
        x - 23, height - 14, 46, 28, fill=shade, edge=style.PAPER, line=2.0, radius=14, zorder=4
    )
    pen.text(x, height, f"Σ {letter}", 15, fontweight="bold")


def _formula(strips, summed):
    def spelled(strip):
        return f"{strip.name}[{', '.join(strip.letters)}]" if strip.letters else strip.name

    sums = f"Σ_{''.join(summed)} " if summed else ""
    return f"{spelled(strips[-1])} = {sums}{' · '.join(map(spelled, strips[:-1]))}"


def _finding(result, summed):
    def listed(letters):
        return ", ".join(letters[:-1]) + " and " + letters[-1] if letters[1:] else letters[0]

    stay = f"{listed(result)} stay{'' if result[1:] else 's'}" if result else "Nothing stays"
    gone = (
        f"{listed(summed)} {'are' if summed[1:] else 'is'} summed"
        if summed
        else "nothing is summed"
    )
    return f"{stay}, {gone}"
