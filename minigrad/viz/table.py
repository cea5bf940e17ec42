"""Tables that read well in a notebook and in a terminal."""

import html

from minigrad.viz import style


class Table:
    """Rows under headers; a notebook shows it as HTML, everything else as aligned text."""

    def __init__(self, rows, headers, marked_rows, marked_cells, caption):
        self.rows, self.headers, self.caption = rows, headers, caption
        self._marked_rows, self._marked_cells = marked_rows, marked_cells
        columns = zip(*rows, strict=True) if rows else ([] for _ in headers)
        self._right = [bool(column) and all(map(_numeric, column)) for column in columns]

    def _marked(self, row, column):
        return row in self._marked_rows or (row, column) in self._marked_cells

    def __repr__(self):
        body = [
            [f"*{text}*" if self._marked(r, c) and text else text for c, text in enumerate(row)]
            for r, row in enumerate(self.rows)
        ]
        lines = [self.headers, *body]
        widths = [max(len(line[c]) for line in lines) for c in range(len(self.headers))]
        text = [self._line(line, widths) for line in lines]
        text.insert(1, "  ".join("─" * width for width in widths))
        if self.caption:
            text.insert(0, self.caption)
        return "\n".join(text)

    def _line(self, cells, widths):
        pairs = zip(cells, widths, self._right, strict=True)
        return "  ".join(c.rjust(w) if right else c.ljust(w) for c, w, right in pairs).rstrip()

    def _repr_html_(self):
        cell = "padding:0.35em 0.9em;font-size:1.1em"
        rows = [self._html_row("th", self.headers, [False] * len(self.headers), cell)]
        for r, row in enumerate(self.rows):
            marked = [self._marked(r, c) for c in range(len(row))]
            rows.append(self._html_row("td", row, marked, cell))
        caption = ""
        if self.caption:
            look = "caption-side:top;text-align:left;font-weight:bold;font-size:1.1em"
            caption = f'<caption style="{look}">{html.escape(self.caption)}</caption>\n'
        body = "\n".join(rows[1:])
        return (
            f'<table style="border-collapse:collapse">\n{caption}'
            f"<thead>\n{rows[0]}\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        )

    def _html_row(self, tag, cells, marked, look):
        parts = []
        for text, strong, right in zip(cells, marked, self._right, strict=True):
            css = f"{look};text-align:{'right' if right else 'left'}"
            text = html.escape(text).replace("\n", "<br>")
            if strong:  # half transparent, for light and dark pages
                css += f";background:{style.COLORS['highlight']}55"
                text = f"<b>{text}</b>"
            parts.append(f'<{tag} style="{css}">{text}</{tag}>')
        return f"<tr>{''.join(parts)}</tr>"


def table(rows, headers=None, *, highlight=(), digits=4, caption=""):
    """A table of plain values, for the last line of a notebook cell, or print().

    Arguments: rows: sequences of one length, or dicts (their keys are the headers); headers: one
    a column; highlight: rows by number, cells as (row, column number or header); digits: shown of
    a float (significant ones); caption: the finding.
    Returns an object with HTML and text forms, the same every time. Shapes, numbers and booleans
    are written as Python writes them; columns of numbers stand to the right.
    Raises ValueError for ragged rows, and marks that are not in the table.
    """
    rows = [dict(row) if isinstance(row, dict) else list(row) for row in rows]
    if rows and all(isinstance(row, dict) for row in rows):
        headers = list(rows[0]) if headers is None else list(headers)
        for number, row in enumerate(rows):
            if set(row) != set(headers):
                raise ValueError(f"row {number} has the keys {list(row)}, expected {headers}")
        rows = [[row[name] for name in headers] for row in rows]
    if headers is None:
        raise ValueError("headers are missing: give one a column")
    headers = [str(name) for name in headers]
    for number, row in enumerate(rows):
        if len(row) != len(headers):
            raise ValueError(f"row {number} has {len(row)} cells, there are {len(headers)} headers")
    marked_rows, marked_cells = set(), set()
    one = isinstance(highlight, int) or (isinstance(highlight, tuple) and len(highlight) == 2)
    for mark in [highlight] if one else highlight:
        _mark(mark, rows, headers, marked_rows, marked_cells)
    cells = [[_text(value, digits) for value in row] for row in rows]
    return Table(cells, headers, marked_rows, marked_cells, caption)


def _mark(mark, rows, headers, marked_rows, marked_cells):
    row, column = mark if isinstance(mark, tuple) else (mark, None)
    if not 0 <= row < len(rows):
        raise ValueError(f"highlight {mark}: the table has rows 0 to {len(rows) - 1}")
    if column is None:
        marked_rows.add(row)
        return
    place = headers.index(column) if column in headers else column
    if not (isinstance(place, int) and 0 <= place < len(headers)):
        raise ValueError(f"highlight {mark}: the table has no column {column!r}")
    marked_cells.add((row, place))


def _text(value, digits):
    if value is None:
        return ""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, float):
        return f"{value:.{digits}g}".replace("-", "−")
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}".replace("-", "−")
    return str(value)


def _numeric(text):
    plain = text.replace(",", "").replace("−", "-").rstrip("%×")
    try:
        float(plain or 0)
    except ValueError:
        return False
    return True
