"""A pen for drawings in points: boxes, lines, arrows and letters that keep their proportions."""

from dataclasses import dataclass
from itertools import pairwise

from minigrad.viz import style


@dataclass
class Pen:
    """Draws on axes whose unit is one point of the drawing (see style.bare_canvas).

    ax: matplotlib axes; scale: points of paper to a unit; (x, y): where the drawing's origin is.
    """

    ax: object
    scale: float = 1.0
    x: float = 0.0
    y: float = 0.0

    def moved(self, x, y):
        """The same pen with its origin moved by (x, y)."""
        return Pen(self.ax, self.scale, self.x + x, self.y + y)

    def _add(self, patch):
        self.ax.add_patch(patch)
        return patch

    def text(self, x, y, text, size=style.BODY, *, color=style.INK, ha="center", va="center", **kw):
        """Writes at (x, y); a dollar sign is a dollar sign unless `math=True`."""
        math = kw.pop("math", False)
        if va == "center" and "\n" not in text:  # so that texts of one height stand on one line
            va, y = "baseline", y - 0.36 * size
        place = {"ha": ha, "va": va, "fontsize": size * self.scale, "color": color}
        place |= {"zorder": 6, "parse_math": math, "linespacing": 1.15}
        return self.ax.text(self.x + x, self.y + y, text, **(place | kw))

    def box(self, left, bottom, width, height, *, radius=6.0, fill=None, edge=None, line=1.6, **kw):
        """A rectangle with round corners."""
        from matplotlib.patches import FancyBboxPatch

        radius = min(radius, width / 2, height / 2)
        shape = f"round,pad=0,rounding_size={radius}" if radius else "square,pad=0"
        look = {"facecolor": fill or "none", "edgecolor": edge or "none", "zorder": 3}
        look |= {"linewidth": line * self.scale if edge else 0.0}
        corner = (self.x + left, self.y + bottom)
        return self._add(FancyBboxPatch(corner, width, height, boxstyle=shape, **(look | kw)))

    def line(self, points, *, color=style.INK, width=2.0, zorder=2, **kw):
        """A straight or broken line through the points."""
        xs = [self.x + x for x, _ in points]
        ys = [self.y + y for _, y in points]
        look = {"color": color, "linewidth": width * self.scale, "zorder": zorder}
        return self.ax.plot(xs, ys, **(look | {"solid_capstyle": "round"} | kw))[0]

    def curve(self, points, *, color=style.INK, width=2.0, down=False, zorder=2):
        """A smooth line that leaves and meets every point along the flow (right, or down)."""
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        path, codes = [points[0]], [Path.MOVETO]
        for (x0, y0), (x1, y1) in pairwise(points):
            if down:
                middle = (y0 + y1) / 2
                path += [(x0, middle), (x1, middle), (x1, y1)]
            else:
                middle = (x0 + x1) / 2
                path += [(middle, y0), (middle, y1), (x1, y1)]
            codes += [Path.CURVE4] * 3
        moved = [(self.x + x, self.y + y) for x, y in path]
        look = {"facecolor": "none", "edgecolor": color, "linewidth": width * self.scale}
        look |= {"capstyle": "round", "zorder": zorder}
        return self._add(PathPatch(Path(moved, codes), **look))

    def head(self, x, y, towards, shades, *, size=9.0, zorder=2.5):
        """An arrow head with its tip at (x, y), pointing along the unit vector `towards`.

        shades: one colour, or two: of its left and its right half.
        """
        from matplotlib.patches import Polygon

        x, y = self.x + x, self.y + y
        (a, b), half = towards, 0.55 * size
        foot = x - size * a, y - size * b
        left = (foot[0] - half * b, foot[1] + half * a)
        right = (foot[0] + half * b, foot[1] - half * a)
        parts = [(left, right)] if len(shades) == 1 else [(left, foot), (foot, right)]
        for corners, shade in zip(parts, shades, strict=True):
            look = {"facecolor": shade, "edgecolor": shade, "linewidth": 0.6, "zorder": zorder}
            self._add(Polygon([(x, y), *corners], closed=True, joinstyle="round", **look))

    def disc(self, x, y, radius, *, fill, edge=None, line=1.6, zorder=5):
        """A filled circle."""
        from matplotlib.patches import Circle

        look = {"facecolor": fill, "edgecolor": edge or "none", "zorder": zorder}
        look |= {"linewidth": line * self.scale if edge else 0.0}
        return self._add(Circle((self.x + x, self.y + y), radius, **look))


def key_width(entries, size=style.SMALL):
    """The width in points of the entries of a key in one row."""
    return sum(38 + style.text_size(entry[0], size)[0] for entry in entries)


def key_rows(entries, width, size=style.SMALL):
    """Breaks the entries of a key into rows of at most `width` points: lists of (entry, x)."""
    rows, x = [], width
    for entry in entries:
        need = 20 + style.text_size(entry[0], size)[0] + 18
        if not rows or x + need - 18 > width:
            rows.append([])
            x = 0.0
        rows[-1].append((entry, x))
        x += need
    return rows


def draw_key(pen, rows, top, size=style.SMALL):
    """Draws the rows of key_rows under `top`, 22 points each; an entry is (text, fill, edge)."""
    for number, row in enumerate(rows):
        y = top - 22 * (number + 0.5)
        for (text, fill, edge), x in row:
            pen.box(x, y - 6, 13, 12, radius=3, fill=fill, edge=edge, line=1.4)
            pen.text(x + 20, y, text, size, ha="left")
