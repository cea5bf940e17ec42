"""What is written: text cut into tokens, row under row, and passages beside their numbers."""

import functools

from minigrad.viz import style
from minigrad.viz.pen import Pen

MONO = "DejaVu Sans Mono"
LETTER, GAP = 0.602 * style.BODY, 6.0  # width of a letter, and between letters, in points
ROW, LINE = 31.0, 17.0  # from a row to the next, from a line of a passage to the next
SIDE, WIDEST = 34.0, 1008  # margins; the widest drawing that fits on a slide, in points


@style.styled
def token_rows(rows, *, lit=(), title=None, ax=None):
    """Draws texts as boxes, one a token, each letter under the same letter of the row above.

    Arguments: rows: label -> tokens (str or bytes), or (label, tokens) pairs; lit: tokens in the
    colour of the highlight, in the row where they first occur; title: the finding; ax: axes to
    draw on. Bytes that are no text, and those of letters that the font lacks, are written as
    hexadecimal numbers, blanks as ␣.
    Returns the figure, or the axes that were given.
    Raises ValueError for no rows, and rows too long for a slide.
    """
    pairs = [(str(label), [_atoms(token) for token in row]) for label, row in _pairs(rows)]
    if not pairs:
        raise ValueError("there are no rows to draw")
    left = max(style.text_size(label)[0] for label, _ in pairs) + SIDE
    wide = left + max(sum(map(_width, row)) for _, row in pairs) + 10
    if wide > WIDEST:
        raise ValueError(f"a row is {wide:.0f} points wide; a slide has room for {WIDEST}")
    owner, ax, scale = style.bare_canvas(ax, wide, ROW * len(pairs) + 8, title)
    waiting = {tuple(_atoms(token)) for token in lit}
    for number, (label, row) in enumerate(pairs):
        pen = Pen(ax, scale, 0, ROW * (len(pairs) - number - 0.5) + 4)
        pen.text(left - 16, 0, label, ha="right")
        new = waiting & {tuple(token) for token in row}
        waiting -= new
        _draw_row(pen.moved(left, 0), row, new)
    return owner


def _pairs(rows):
    return list(rows.items() if hasattr(rows, "items") else rows)


def _atoms(token):
    """(sign, width in points) of each letter or byte of a token, as they are written.

    A letter of several bytes is as wide as these, so that what follows stays in its column.
    """
    raw = token if isinstance(token, bytes) else str(token).encode("utf-8", "surrogatepass")
    try:
        letters = [letter.encode("utf-8") for letter in raw.decode("utf-8")]
    except UnicodeDecodeError:
        letters = [bytes([byte]) for byte in raw]
    atoms = []
    for letter in letters:
        sign = style.visible(letter.decode("utf-8", "replace"))
        if letter < b"\x80" and sign.isprintable():
            atoms.append((sign, LETTER + GAP))
        elif len(letter) > 1 and _in_font(sign):
            atoms.append((sign, len(letter) * (2 * LETTER + GAP)))
        else:
            atoms += [(f"{byte:02X}", 2 * LETTER + GAP) for byte in letter]
    return atoms


@functools.cache
def _in_font(letter):
    from matplotlib.font_manager import findfont, get_font

    return bool(get_font(findfont(MONO)).get_char_index(ord(letter)))


def _width(token):
    return sum(width for _, width in token)


def _draw_row(pen, row, lit):
    x = 0.0
    for token in row:
        shade = style.color("highlight" if tuple(token) in lit else "value")
        fill = style.tint(shade, 0.6 if tuple(token) in lit else 0.22 * (len(token) > 1))
        edge = shade if len(token) > 1 else style.color("faint")
        pen.box(x + 1, -11, _width(token) - 2, 22, radius=4, fill=fill, edge=edge)
        for sign, width in token:
            pen.text(x + width / 2, 0, sign, family=MONO)
            x += width


@style.styled
def passages(rows, *, unit="", width=12.0, digits=3, title=None, ax=None):
    """Draws passages of text under each other, each beside its name and its number.

    Arguments: rows: (name, number, text) triples, the number None where there is none; unit: of
    the numbers, written before them; width: in inches; digits: shown of a number (significant
    ones); title: the finding; ax: axes to draw on.
    Line ends of a text are kept, longer lines are broken; a text may have several lines.
    Returns the figure, or the axes that were given.
    Raises ValueError for no rows.
    """
    rows = list(rows)
    if not rows:
        raise ValueError("there are no passages to draw")
    notes = ["" if n is None else f"{unit} {style.number(n, digits)}".strip() for _, n, _ in rows]
    names = [str(name) for name, _, _ in rows]
    left = 30 + max(
        *(style.text_size(name, style.BODY, "bold")[0] for name in names),
        *(style.text_size(note)[0] for note in notes),
    )
    letters = int((width * 72 - left - 36) / (0.602 * style.SMALL))
    texts = [_broken(str(text), letters) for _, _, text in rows]
    heights = [max(LINE * len(lines), 2 * LINE + 4) + 18 for lines in texts]
    owner, ax, scale = style.bare_canvas(ax, width * 72, sum(heights), title)
    pen = Pen(ax, scale, 0, sum(heights))
    for name, note, lines, height in zip(names, notes, texts, heights, strict=True):
        pen = pen.moved(0, -height)
        pen.text(12, height - 21, name, ha="left", fontweight="bold")
        pen.text(12, height - 41, note, ha="left")
        pen.box(left, 5, width * 72 - left - 8, height - 10, fill=style.tint("value", 0.1))
        for number, line in enumerate(lines):
            y = height / 2 + LINE * (len(lines) / 2 - number - 0.5)
            pen.text(left + 12, y, line, style.SMALL, ha="left", family=MONO)
    return owner


def _broken(text, letters):
    """The lines of a text, those of more letters than fit cut into several."""
    lines = []
    for line in text.split("\n"):
        lines += [line[at : at + letters] for at in range(0, max(len(line), 1), letters)]
    return lines
