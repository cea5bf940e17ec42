"""One look for all pictures: colours with fixed meanings, letters for the back row, one figure.

Matplotlib is imported by the first picture that is drawn, here and nowhere earlier.
"""

import functools
import io
from pathlib import Path

from minigrad import files
from minigrad.viz.colors import (  # noqa: F401 (the other modules say style.color)
    COLORS,
    CYCLE,
    FAINT,
    GREY,
    INK,
    PAPER,
    color,
    colormap,
    colors_for,
    ink,
    require_matplotlib,
    text_on,
    tint,
)

SMALL, BODY, TITLE = 12.5, 14.0, 16.0
"""Font sizes in points; no letter of a picture is smaller than SMALL."""

DPI = 100  # the size a figure is shown at; the stored picture holds more pixels, see Picture
SHARPNESS = 1.5

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@functools.cache
def rc():
    """The style as a dict of matplotlib's rcParams."""
    require_matplotlib()
    from cycler import cycler

    return {
        "figure.dpi": DPI,
        "figure.facecolor": PAPER,
        "savefig.facecolor": PAPER,
        "font.family": "DejaVu Sans",
        "mathtext.fontset": "dejavusans",
        "font.size": BODY,
        "text.color": INK,
        "axes.titlesize": TITLE,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 12,
        "axes.labelsize": BODY,
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "axes.linewidth": 1.2,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.prop_cycle": cycler(color=CYCLE),
        "axes.unicode_minus": True,
        "grid.color": FAINT,
        "grid.linewidth": 1.0,
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "xtick.color": INK,
        "ytick.color": INK,
        "legend.fontsize": SMALL,
        "legend.frameon": False,
        "lines.linewidth": 2.6,
        "lines.markersize": 7,
        "hatch.linewidth": 0.8,
        "hatch.color": GREY,
        "image.interpolation": "nearest",
    }


class use_style:
    """Gives matplotlib the course's style: `use_style()` for good, `with use_style():` for a while.

    The pictures of this package need no call: each is drawn in the style by itself.
    """

    def __init__(self):
        params = require_matplotlib().rcParams
        self._before = {name: params[name] for name in rc()}
        params.update(rc())

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        require_matplotlib().rcParams.update(self._before)


def styled(draw):
    """Decorator of a drawing function: matplotlib is there, and the style holds, while it runs."""

    @functools.wraps(draw)
    def drawn(*args, **kwargs):
        matplotlib = require_matplotlib()
        with matplotlib.rc_context(rc()):
            return draw(*args, **kwargs)

    return drawn


@functools.cache
def _picture_class():
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    class Picture(Figure):
        """A matplotlib Figure that a notebook shows as the value of a cell, without pyplot."""

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            FigureCanvasAgg(self)

        def _repr_png_(self):
            buffer = io.BytesIO()
            self.savefig(buffer, dpi=DPI * SHARPNESS, metadata={"Software": None})
            width, height = self.get_size_inches() * DPI
            return buffer.getvalue(), {"width": int(width), "height": int(height)}

    return Picture


@styled
def figure(rows=1, columns=1, *, width=10.0, height=None, layout="constrained", **options):
    """A figure in the course's style and its axes, as `matplotlib.pyplot.subplots` gives them.

    Arguments: rows, columns: of axes; width, height: in inches (height: 0.45 of the width a row,
    if not given); layout: matplotlib's engine ("compressed" for images); options: of
    `Figure.subplots` (sharex=, sharey=, width_ratios= ...).
    Returns (figure, axes): one axes, or an array of them. End a notebook cell with the figure.
    """
    height = height or 0.45 * width * rows / max(columns - 0.5 * (columns > 1), 1)
    picture = _picture_class()(figsize=(width, height), dpi=DPI, layout=layout)
    picture.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    return picture, picture.subplots(rows, columns, **options)


def canvas(ax, width, height, **options):
    """(what to return, axes to draw on): the caller's axes, or a new figure of that size."""
    return (ax, ax) if ax is not None else figure(width=width, height=height, **options)


def bare_canvas(ax, width, height, title=None):
    """As canvas, for drawings in points: axes without frame that fill the figure, 1 unit = 1 pt.

    Arguments: width, height: of the drawing, in points. A new figure also gets room for the title.
    Returns (what to return, axes, scale): scale is the points of paper to a unit of the drawing;
    below 1 only where the caller's axes are smaller than the drawing.
    """
    if ax is None:
        lines = wrap(title or "", width - 8, TITLE, "bold").splitlines()
        head = 1.35 * TITLE * len(lines) + 14 if lines else 0
        size = (width / 72, (height + head) / 72)
        picture = _picture_class()(figsize=size, dpi=DPI)
        ax = picture.add_axes((0, 0, 1, height / (height + head)))
        if lines:
            place = {"x": 8 / width, "y": 1 - 8 / (height + head), "ha": "left", "va": "top"}
            picture.suptitle("\n".join(lines), fontsize=TITLE, fontweight="bold", **place)
        ax.set(xlim=(0, width), ylim=(0, height), aspect="equal")
        ax.set_axis_off()
        return picture, ax, 1.0
    ax.set_axis_off()
    set_title(ax, title)
    ax.figure.draw_without_rendering()
    box = ax.get_position()
    inches_wide, inches_high = ax.figure.get_size_inches()
    given = box.width * inches_wide * 72, box.height * inches_high * 72
    scale = min(1.0, given[0] / width, given[1] / height)
    spare = given[0] / scale - width, given[1] / scale - height
    ax.set_xlim(-spare[0] / 2, width + spare[0] / 2)
    ax.set_ylim(-spare[1] / 2, height + spare[1] / 2)
    ax.set_aspect("auto")
    return ax, ax, scale


def set_title(ax, title):
    """Writes the title over the axes, broken into lines that fit."""
    if title:
        spec = ax.get_subplotspec()
        share = 1.0 if spec is None else len(spec.colspan) / spec.get_gridspec().ncols
        points = ax.figure.get_size_inches()[0] * 72 * share
        ax.set_title(wrap(title, max(points - 72, 100), TITLE, "bold"))


@functools.lru_cache(maxsize=4096)
def text_size(text, size=BODY, weight="normal", family="DejaVu Sans"):
    """(width, height) of a text of one or more lines, in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=family, size=size, weight=weight)
    lines = text.split("\n")
    widths = [
        text_to_path.get_text_width_height_descent(line, font, line.count("$") >= 2)[0]
        for line in lines
        if line
    ]
    return max(widths, default=0.0), 1.25 * size * len(lines)


def wrap(text, width, size=BODY, weight="normal"):
    """The text broken between words into lines of at most `width` points."""
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}" if line else word
            if line and text_size(longer, size, weight)[0] > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return "\n".join(lines)


def visible(token):
    """A token as a label: blanks and line ends are shown as signs."""
    return str(token).replace("\n", "↵").replace("\t", "⇥").replace(" ", "␣")


def number(value, digits=3):
    """A number as a label: 3 significant digits, thousands grouped, no needless zeros.

    >>> number(1234567.0), number(0.0001234), number(2.50), number(-3), number(2.1e-16)
    ('1,230,000', '0.000123', '2.5', '−3', '2.1×10⁻¹⁶')
    """
    if isinstance(value, str):
        return value
    value = float(f"{value:.{digits}g}") or 0.0  # not -0.0
    if value == 0 or 1e-4 <= abs(value) < 1e9:
        text = f"{value:,.10f}".rstrip("0").rstrip(".")
    elif abs(value) in (float("inf"), 0) or value != value:
        text = f"{value:g}".replace("inf", "∞")
    else:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        text = f"{mantissa}×10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    return text.replace("-", "−")


def save(picture, path, dpi=DPI * SHARPNESS):
    """Writes a figure as a file, the same bytes for the same picture.

    Arguments: picture: what a drawing function returned (a figure, or axes of one);
    path: its ending says the kind (.png, .svg, .pdf); dpi: pixels an inch.
    The file is whole or not there, never half. Raises ValueError for another ending.
    """
    picture, path = getattr(picture, "figure", None) or picture, Path(path)
    known = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    if path.suffix not in known:
        raise ValueError(f"cannot save {str(path)!r}: the name must end in {', '.join(known)}")
    how = {"format": path.suffix[1:], "dpi": dpi, "metadata": known[path.suffix]}
    salt = {"svg.hashsalt": "minigrad"}  # names inside an svg file would else be random
    with require_matplotlib().rc_context(salt), files.replacing(path) as file:
        picture.savefig(file, **how)
