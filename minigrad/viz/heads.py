"""Inside the heads: pairs of numbers turned by their position, and keys that heads share."""

import math

import numpy as np

from minigrad.viz import style
from minigrad.viz.pen import Pen

RADIUS, GAP = 58.0, 26.0  # of a face, and between faces, in points
BOX, SPACE, STEP = 30.0, 6.0, 54.0  # a head's side, between heads, between panels, in points
RISE = 62.0  # from the queries to their keys


@style.styled
def turning_pairs(angles, *, notes=None, columns=None, title=None, ax=None):
    """Draws each pair of a rotary embedding as the face of a clock, with its hand at all positions.

    Arguments: angles: (positions, pairs) in radians, by which each pair is turned at each
    position; notes: a text under each face (default: how far the pair turns in a step); columns:
    faces in a row (default: up to 4); title: the finding; ax: axes to draw on.
    Hands are pale at the first position and dark at the last; angle 0 points to the right.
    Returns the figure, or the axes that were given.
    Raises ValueError for angles that are no matrix, and notes that do not fit it.
    """
    angles = np.asarray(angles, dtype=float)
    if angles.ndim != 2 or angles.size == 0:
        raise ValueError(f"angles must be (positions, pairs), not {angles.shape}")
    positions, pairs = angles.shape
    if notes is None:
        steps = np.diff(angles, axis=0).mean(axis=0) if positions > 1 else angles[0]
        notes = [f"{style.number(step, 2)} rad a step" for step in steps]
    if len(notes) != pairs:
        raise ValueError(f"{len(notes)} notes for {pairs} pairs")
    columns = min(pairs, columns or 4)
    rows = -(-pairs // columns)
    widest = max(style.text_size(note, style.SMALL)[0] for note in notes)
    wide, tall = max(2 * RADIUS, widest, 80.0) + GAP, 2 * RADIUS + 58
    owner, ax, scale = style.bare_canvas(ax, columns * wide + 16, rows * tall + 8, title)
    for pair in range(pairs):
        x, y = 8 + wide * (pair % columns + 0.5), tall * (rows - 1 - pair // columns)
        _face(Pen(ax, scale, x, y), angles[:, pair], f"pair {pair}", notes[pair])
    return owner


def _face(pen, angles, name, note):
    """A circle round (0, RADIUS + 46) with a hand for every angle, and two lines under it."""
    middle = RADIUS + 46
    pen.disc(0, middle, RADIUS, fill=style.PAPER, edge=style.GREY, zorder=2)
    shades = style.colormap("value")(np.linspace(0.25, 1.0, len(angles)))
    for angle, shade in zip(angles, shades, strict=True):
        towards = math.cos(angle), math.sin(angle)
        tip = 0.9 * RADIUS * towards[0], middle + 0.9 * RADIUS * towards[1]
        pen.line([(0, middle), tip], color=shade, width=2.6, zorder=3)
        pen.head(*tip, towards, [shade], size=10, zorder=3.5)
    pen.text(0, 30, name, fontweight="bold")
    pen.text(0, 10, note, style.SMALL)


@style.styled
def head_sharing(designs, *, notes=None, title=None, ax=None):
    """Draws which query heads share a head of keys and values, a panel a design.

    Arguments: designs: name -> (n_heads, n_kv_heads); notes: name -> a text under its panel, which
    may have several lines; title: the finding; ax: axes to draw on.
    Returns the figure, or the axes that were given.
    Raises ValueError for no design, and for heads that do not divide each other.
    """
    designs, notes = dict(designs), dict(notes or {})
    if not designs:
        raise ValueError("there are no designs to draw")
    for name, (n_heads, n_kv) in designs.items():
        if n_kv < 1 or n_heads < 1 or n_heads % n_kv:
            raise ValueError(f"{name!r}: {n_heads} heads cannot share {n_kv} heads of keys evenly")
    if set(notes) - set(designs):
        raise ValueError(f"notes for {sorted(set(notes) - set(designs))}, which are no designs")
    widths = []
    for name, (n_heads, _) in designs.items():
        said = [style.text_size(name, style.BODY, "bold")]
        said.append(style.text_size(notes.get(name, ""), style.SMALL))
        row = n_heads * (BOX + SPACE) - SPACE
        widths.append(max(row, *(width for width, _ in said)))
    lines = max([text.count("\n") + 1 for text in notes.values()], default=0)
    foot = 10 + 1.3 * style.SMALL * lines
    margin = 96.0  # of the words at the left
    total = margin + sum(widths) + STEP * (len(designs) - 1) + 12
    tall = foot + 2 * BOX + RISE + 40
    owner, ax, scale = style.bare_canvas(ax, total, tall, title)
    words = Pen(ax, scale, 8, foot)
    words.text(0, BOX / 2, "queries", style.SMALL, ha="left")
    words.text(0, BOX + RISE + BOX / 2, "keys and\nvalues", style.SMALL, ha="left")
    x = margin
    for (name, heads), width in zip(designs.items(), widths, strict=True):
        _panel(Pen(ax, scale, x + width / 2, foot), name, *heads, notes.get(name, ""))
        x += width + STEP
    return owner


def _panel(pen, name, n_heads, n_kv, note):
    """Queries on the line y = 0, their keys above them, the name on top, the note below."""
    group = n_heads // n_kv
    place = [(head - (n_heads - 1) / 2) * (BOX + SPACE) for head in range(n_heads)]
    top = BOX + RISE
    for kv in range(n_kv):
        shade = style.CYCLE[kv % len(style.CYCLE)]
        own = place[kv * group : (kv + 1) * group]
        x = sum(own) / group
        for query in own:
            pen.line([(query, BOX), (x, top)], color=shade, width=2.4)
            look = {"fill": style.tint(shade, 0.25), "edge": shade}
            pen.box(query - BOX / 2, 0, BOX, BOX, **look)
        pen.box(x - BOX / 2, top, BOX, BOX, fill=shade, edge=shade)
    pen.text(0, top + BOX + 18, name, fontweight="bold")
    pen.text(0, -10, note, style.SMALL, va="top")
