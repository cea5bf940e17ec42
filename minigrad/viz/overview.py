"""The picture at the top of the README: ``python -m minigrad.viz.overview``.

It draws ``notebooks/images/overview.png``. With the measurements of a real run beside it, made by
``minigrad tour --json notebooks/images/overview.json``, it shows differentiating, training and
writing; without them it shows differentiating and the course, with the notebooks that are written
marked as done, and no numbers of a training run.
"""

import argparse
import json
import textwrap
from pathlib import Path

from minigrad.viz import style
from minigrad.viz.coursemap import COURSE, course_map
from minigrad.viz.curves import loss_curve
from minigrad.viz.graph import Node, computation_graph
from minigrad.viz.pen import Pen

IMAGES = Path(__file__).resolve().parents[2] / "notebooks" / "images"
WIDTH = 13.0  # inches
NEEDED = ("parameters", "losses", "held_out", "before", "after")


def small_graph(x=3.0, w=2.0, t=4.0):
    """(nodes, edges) of the loss (x·w − t)², its values and gradients worked out by hand."""
    product = x * w
    error = product - t
    loss = error**2
    d_error = 2 * error
    nodes = [
        Node("x", "x", "input", x, d_error * w),
        Node("w", "w", "parameter", w, d_error * x),
        Node("product", "×", "op", product, d_error),
        Node("t", "t", "input", t, -d_error),
        Node("error", "−", "op", error, d_error),
        Node("loss", "( )² = loss", "output", loss, 1.0),
    ]
    edges = [("x", "product"), ("w", "product"), ("product", "error"), ("t", "error")]
    return nodes, [*edges, ("error", "loss")]


@style.styled
def overview(measured=None):
    """The picture; measured: what ``minigrad tour --json`` writes, as a dict, or None.

    Returns the figure. Raises ValueError where a measurement is missing.
    """
    if measured is None:
        picture, (top, bottom) = _rows(3.85, 7.1)
        _graph(picture.add_axes(top))
        written = [n for n, _, _ in COURSE if any(IMAGES.parent.glob(f"{n:02d}_*.ipynb"))]
        title = "and is on its way to a served language model, a notebook an idea"
        course_map(done=written, title=title, ax=picture.add_axes(bottom))
        return picture
    missing = [key for key in NEEDED if key not in measured]
    if missing:
        raise ValueError(f"the measurements lack {', '.join(missing)}: run minigrad tour --json")
    picture, (top, bottom) = _rows(4.1, 3.7)
    left, floor, width, height = top
    _graph(picture.add_axes((left, floor, 0.52 * width, height)))
    plot = (left + 0.6 * width, floor + 0.17 * height, 0.385 * width, 0.83 * height)
    _loss(picture.add_axes(plot), measured)
    _samples(picture.add_axes(bottom), measured)
    return picture


def _rows(*heights):
    """A figure with rows of those heights in inches under each other, and their places."""
    margin, title = 0.15, 0.55
    total = sum(heights) + len(heights) * title + margin
    picture, ax = style.figure(width=WIDTH, height=total)
    ax.remove()
    picture.set_layout_engine("none")
    places, top = [], total
    for height in heights:
        top -= title + height
        places.append((margin / WIDTH, top / total, 1 - 2 * margin / WIDTH, height / total))
    return picture, places


def _graph(ax):
    title = "It starts with one walk back through a graph"
    computation_graph(*small_graph(), title=title, ax=ax)


def _loss(ax, measured):
    losses = measured["losses"]
    loss_curve(
        range(1, len(losses) + 1), losses, ax=ax, title="goes on with a loss that falls", val=None
    )
    steps, held_out = zip(*measured["held_out"], strict=True)
    ax.plot(steps, held_out, "o", color=style.color("validation"), markeredgecolor=style.PAPER)
    ax.annotate(
        "on unseen plays",
        (steps[-1], held_out[-1]),
        xytext=(0, 26),
        textcoords="offset points",
        ha="right",
        fontweight="bold",
        color=style.ink("validation"),
    )
    ax.set_ylabel("loss (nats a character)")


def _samples(ax, measured):
    after = measured["after"]
    if isinstance(after, dict):
        label = next((name for name in after if "top-p" in name), list(after)[-1])
        after = after[label]
    size = f"{measured['parameters']:,} numbers"
    points = WIDTH * 72 - 24
    height = ax.get_position().height * ax.figure.get_size_inches()[1] * 72
    style.bare_canvas(ax, points, height, f"and ends with a model of {size} that writes")
    pen, half = Pen(ax), points / 2
    letters = int((half - 34) / (0.602 * style.BODY))
    for place, (name, text) in enumerate({"before": measured["before"], "after": after}.items()):
        role = "muted" if name == "before" else "value"
        left = place * (half + 6)
        pen.box(left, 4, half - 6, height - 8, fill=style.tint(role, 0.1), edge=style.color(role))
        look = {"ha": "left", "fontweight": "bold", "color": style.ink(role)}
        pen.text(left + 14, height - 24, f"{name} training", style.BODY, **look)
        lines = [
            piece
            for line in text.splitlines()
            for piece in (textwrap.wrap(line, letters, drop_whitespace=False) or [""])
        ]
        for row, line in enumerate(lines[: int((height - 54) // 19)]):
            mono = {"family": "DejaVu Sans Mono", "ha": "left"}
            pen.text(left + 14, height - 50 - 19 * row, line, style.BODY, **mono)


def main(arguments=None):
    """Draws and saves the picture; returns the path."""
    parser = argparse.ArgumentParser(prog="python -m minigrad.viz.overview", description=__doc__)
    parser.add_argument("--out", type=Path, default=IMAGES / "overview.png")
    parser.add_argument("--measured", type=Path, default=IMAGES / "overview.json")
    options = parser.parse_args(arguments)
    measured = None
    if options.measured.exists():
        measured = json.loads(options.measured.read_text(encoding="utf-8"))
    style.save(overview(measured), options.out, dpi=style.DPI)
    return options.out


if __name__ == "__main__":
    print(main())
