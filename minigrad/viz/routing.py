"""Things that move between ranks: what each rank holds, stage by stage."""

from minigrad.viz import style
from minigrad.viz.pen import Pen

SIDE, GAP, PAD, BETWEEN, RISE = 25.0, 3.0, 7.0, 18.0, 46.0  # points


@style.styled
def rank_items(stages, *, names="rank {}", key=None, colors=None, lines=True, title=None, ax=None):
    """Draws what every rank holds at several moments: a row a moment, a frame a rank.

    Arguments: stages: moment -> one list a rank of boxes (label, role) or (label, role, id): role
    is a role, a colour, or a name that gets the next free colour; boxes with the same id in two
    moments that follow each other are joined by a line, if ``lines``; names: of the ranks, a
    pattern or a list; key: {role: words} to explain colours; colors: role -> role or colour; title:
    the finding; ax: axes to draw on.
    Returns the figure, or the axes that were given.
    Raises ValueError for no moments, or moments with different numbers of ranks.
    """
    stages = {
        str(k): [[(*item, None)[:3] for item in held] for held in v] for k, v in stages.items()
    }
    sizes = {len(held) for held in stages.values()}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(f"stages: moments have {sorted(sizes)} ranks; expected as many in each")
    roles = dict.fromkeys(role for held in stages.values() for rank in held for _, role, _ in rank)
    shades = style.colors_for(list(roles), colors)
    most = [max(len(held[r]) for held in stages.values()) for r in range(sizes.pop())]
    frames = [2 * PAD + max(2, n) * (SIDE + GAP) - GAP for n in most]
    left = 14 + max(style.text_size(name, style.BODY, "bold")[0] for name in stages)
    wide = left + sum(frames) + BETWEEN * len(frames)
    row = SIDE + 2 * PAD + RISE
    lines_of_key = _key_lines(key or {}, wide - 16)
    tall = row * len(stages) - RISE + 34 + 26 * len(lines_of_key)
    owner, ax, scale = style.bare_canvas(ax, wide, tall, title)
    pen, before = Pen(ax, scale), {}
    top = tall - 28
    for rank, x in enumerate(_starts(frames, left)):
        name = names.format(rank) if isinstance(names, str) else names[rank]
        pen.text(x + frames[rank] / 2, top + 14, name, fontweight="bold")
    for number, (moment, held) in enumerate(stages.items()):
        y = top - row * number - SIDE - 2 * PAD
        pen.text(8, y + PAD + SIDE / 2, moment, ha="left", fontweight="bold")
        here = {}
        for x, frame, things in zip(_starts(frames, left), frames, held):
            pen.box(x, y, frame, SIDE + 2 * PAD, edge=style.GREY, line=1.2, zorder=1)
            here |= _boxes(pen, x + PAD, y + PAD, things, shades)
        for thing in here if lines else ():
            if thing in before:
                (x0, y0, _), (x1, y1, fill) = before[thing], here[thing]
                pen.curve([(x0, y0), (x1, y1 + SIDE)], color=fill, width=1.6, down=True)
        before = here
    for number, line in enumerate(reversed(lines_of_key)):
        _key(pen.moved(8, 4 + 26 * number), line, shades)
    return owner


def _boxes(pen, x, y, things, shades):
    """A row of boxes from (x, y) on; {id: (middle, bottom, colour)} of those that have one."""
    places = {}
    for label, role, thing in things:
        fill, middle = shades[role], x + SIDE / 2
        pen.box(x, y, SIDE, SIDE, radius=4, fill=fill)
        pen.text(middle, y + SIDE / 2, str(label), style.SMALL, color=style.text_on(fill))
        if thing is not None:
            places[thing] = middle, y, fill
        x += SIDE + GAP
    return places


def _key_lines(key, room):
    """The key in lines of at most ``room`` points: [[(role, words, left), ...], ...]."""
    lines, x = [], room
    for role, words in key.items():
        need = 40 + style.text_size(words, style.SMALL)[0]
        if x + need > room + 18:
            lines.append([])
            x = 0.0
        lines[-1].append((role, words, x))
        x += need
    return lines


def _key(pen, line, shades):
    for role, words, x in line:
        pen.box(x, 0, 16, 16, radius=3, fill=shades[role])
        pen.text(x + 22, 8, words, style.SMALL, ha="left")


def _starts(frames, left):
    """Where each frame begins."""
    starts = [left]
    for frame in frames[:-1]:
        starts.append(starts[-1] + frame + BETWEEN)
    return starts
