"""Pictures for the terminal: a loss curve, bars of probabilities. Nothing but Python is needed."""

import math

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # braille: bit of (row, column)
EIGHTHS = " ▏▎▍▌▋▊▉█"


def text_curve(losses, width=64, height=12, *, steps=None, xlabel="step", ascii=False):
    """A curve in text: its values on the left, its steps below.

    Arguments: losses: numbers, any count (NaN leaves a gap); width, height: of the whole picture,
    in characters, at least 24 by 4; steps: the first and last step's number, or all of them
    (default: counted from 0); xlabel: written below; ascii: only characters of every terminal.
    Returns `height` lines of at most `width` characters, as one string.
    Raises ValueError where the picture would be too small, or nothing is finite.
    """
    values = [float(value) for value in losses]
    known = [value for value in values if math.isfinite(value)]
    if width < 24 or height < 4:
        raise ValueError(f"a curve needs 24 by 4 characters, not {width} by {height}")
    if not known:
        raise ValueError("no finite number to draw" if values else "no numbers to draw")
    first, last = (0, len(values) - 1) if steps is None else (steps[0], steps[-1])
    ticks = max(2, (height - 2) // 3 + 1)
    margin = max(len(_mark(value, max(known) - min(known))) for value in (min(known), max(known)))
    columns = width - margin - 2
    wide = columns * (1 if ascii else 2)
    drawn = [_value_at(values, x, wide) for x in range(wide)]
    seen = [value for value in drawn if value is not None]
    low, high = min(seen), max(seen)
    if low == high:
        low, high = low - 0.5, high + 0.5
    marks = {}
    for i in range(ticks):
        row = round(i * (height - 3) / (ticks - 1))
        marks[row] = _mark(high - (high - low) * row / (height - 3), high - low)
    margin = max(margin, *map(len, marks.values()))
    rows = _raster(drawn, low, high, height - 2, ascii)
    bar, tick, corner, floor = "|++-" if ascii else "│┤└─"
    out = []
    for number, row in enumerate(rows):
        mark = marks.get(number, "")
        out.append(f"{mark:>{margin}} {tick if mark else bar}{row}".rstrip())
    out.append(f"{'':>{margin}} {corner}{floor * columns}")
    left, right = f"{first:,}", f"{last:,}"
    if left == right:
        right = ""
    middle = f"{xlabel:^{max(columns - len(left) - len(right), 0)}}"
    out.append(f"{'':>{margin}}  {left}{middle}{right}".rstrip())
    return "\n".join(out)


def _mark(value, span):
    """A value beside the curve, with as many decimals as the span of the values asks for."""
    decimals = 2 if span <= 0 else 2 - math.floor(math.log10(span))
    return f"{value:.{min(max(decimals, 0), 9)}f}" if abs(value) < 1e7 else f"{value:.2e}"


def _raster(drawn, low, high, rows, ascii):
    """The values as `rows` strings, one dot high and wide a value, 2 x 4 dots a character."""
    wide, tall = len(drawn), rows * (1 if ascii else 4)
    grid = [[False] * wide for _ in range(tall)]
    before = None
    for x, here in enumerate(drawn):
        if here is None:
            before = None
            continue
        y = round((high - here) / (high - low) * (tall - 1))
        start = y if before is None else before + (y > before) - (y < before)
        for dot in range(min(start, y), max(start, y) + 1):
            grid[dot][x] = True
        before = y
    if ascii:
        return ["".join("*" if dot else " " for dot in line) for line in grid]
    return [
        "".join(
            _braille([grid[4 * row + i][2 * column + j] for i in range(4) for j in range(2)])
            for column in range(wide // 2)
        )
        for row in range(rows)
    ]


def _braille(dots):
    bits = sum(DOTS[i // 2][i % 2] for i, dot in enumerate(dots) if dot)
    return chr(0x2800 + bits) if bits else " "


def _value_at(values, x, wide):
    """The curve at dot x of `wide`: the mean of the values that fall on it, or between two."""
    if len(values) > wide:
        start, stop = x * len(values) // wide, (x + 1) * len(values) // wide
        known = [value for value in values[start:stop] if math.isfinite(value)]
        return sum(known) / len(known) if known else None
    place = x / max(wide - 1, 1) * (len(values) - 1)
    at = math.floor(place)
    after = min(at + 1, len(values) - 1)
    if not (math.isfinite(values[at]) and math.isfinite(values[after])):
        nearest = values[at] if place - at < 0.5 else values[after]
        return nearest if math.isfinite(nearest) else None
    return values[at] + (place - at) * (values[after] - values[at])


def text_bars(probabilities, labels=None, *, width=40, top=None, percent=True, ascii=False):
    """Bars in text, a line each: label, bar, number.

    Arguments: probabilities: numbers >= 0; labels: one each (default: their numbers); width: of
    the longest bar, in characters; top: only so many, the largest first; percent: 0.25 is written
    25.0 %; ascii: only characters that every terminal has.
    Returns one string of lines; blanks and line ends in labels are shown as signs.
    Raises ValueError for negative or non-finite numbers, and labels that do not fit.
    """
    values = [float(value) for value in probabilities]
    labels = [str(i) for i in range(len(values))] if labels is None else [str(n) for n in labels]
    if len(labels) != len(values):
        raise ValueError(f"{len(labels)} labels for {len(values)} numbers")
    bad = [value for value in values if not 0 <= value < math.inf]
    if bad:
        raise ValueError(f"a bar cannot be {bad[0]} long")
    blank, line_end = ("_", "\\n") if ascii else ("␣", "↵")
    labels = [label.replace("\n", line_end).replace(" ", blank) for label in labels]
    order = range(len(values))
    if top is not None:
        order = sorted(order, key=lambda i: (-values[i], i))[:top]
    longest = max((values[i] for i in order), default=0.0) or 1.0
    margin = max((len(labels[i]) for i in order), default=0)
    numbers = {i: f"{100 * values[i]:.1f} %" if percent else f"{values[i]:.4g}" for i in order}
    right = max(map(len, numbers.values()), default=0)
    bars = {i: _bar(values[i] / longest, width, ascii) for i in order}
    return "\n".join(
        f"{labels[i]:>{margin}} {bars[i]:<{width}} {numbers[i]:>{right}}" for i in order
    )


def _bar(share, width, ascii):
    if ascii:
        return "#" * round(share * width)
    full, part = divmod(round(share * width * 8), 8)
    return "█" * full + (EIGHTHS[part] if part else "")
