"""Pictures of what a watched kernel did: who touches what, tiles on their way, banks of memory.

Each takes a Report of watch.py and returns a matplotlib Figure, or the axes that it was given.
"""

import functools
import io

import numpy as np

from kernels.sim.machine import WARP
from kernels.sim.requests import BANKS, WORD, spread
from kernels.sim.trace import LANDED, READ

INK, GREY, FAINT, PAPER = "#262626", "#BDBDBD", "#E9E9E9", "#FFFFFF"
BLUE, VERMILLION, ORANGE = "#0072B2", "#D55E00", "#E69F00"
CYCLE = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", VERMILLION, "#F0E442", "#5A5A5A")
SMALL, BODY, TITLE = 12.5, 14, 16  # points
CELL = 0.34  # inches: room for two digits
MOST_STEPS = 6
MOST_CELLS = 32  # in a row that is drawn with numbers
DPI = 100


def touches(report, name, by="thread", way=None, block=None, ax=None):
    """An array of one or two axes, each element in the colour of who touches it.

    by: "thread", "warp" or "block"; way: "reads" or "writes", both if not given; block: the number
    of the only block to look at. The number in an element is its owner's; an element that several
    touch is grey and says how many. Raises ValueError for an array that is not there.
    """
    memory, rows = _accesses(report, name)
    keep = np.ones(len(rows["kind"]), bool)
    if way is not None:
        keep &= (rows["kind"] == READ) == (way == "reads")
    if block is not None:
        keep &= rows["block"] == block
    threads = int(np.prod(report.block))
    owner = {
        "thread": rows["thread"] + (0 if block is not None else rows["block"] * threads),
        "warp": rows["thread"] // WARP + rows["block"] * -(-threads // WARP) * (block is None),
        "block": rows["block"],
    }[by]
    shape = _flat_shape(memory.shape)
    first, count = _owners(_elements(memory, rows, keep), owner[keep], int(np.prod(shape)))
    figure, ax = _canvas(ax, shape, CELL if first.max(initial=0) < 100 else 1.4 * CELL)
    colors = np.array([_rgb(each) for each in CYCLE])[first % len(CYCLE)]
    colors[count == 0], colors[count > 1] = _rgb(FAINT), _rgb(GREY)
    labels = np.where(count == 1, first, -1)
    texts = [
        f"{label}" if label >= 0 else f"×{n}" if n > 1 else "" for label, n in zip(labels, count)
    ]
    _cells(ax, colors.reshape(*shape, 3), np.array(texts).reshape(shape))
    if len(memory.shape) == 1:
        ax.set_yticks(ax.get_yticks(), [f"{int(y) * shape[1]:,}" for y in ax.get_yticks()])
    what = {None: "touches", "reads": "reads", "writes": "writes"}[way]
    where = f" of block {block}" if block is not None and by != "block" else ""
    _title(ax, f"Which {by}{where} {what} which element of {name}")
    return figure


def tiles(report, *names, block=0):
    """Arrays of two axes, step by step: what a block reads between two barriers is blue, what it
    had read before is pale. A row of pictures for each name. Raises ValueError for an array that is
    not there, and if nothing is read."""
    found = [_accesses(report, name) for name in names]
    kept = [(rows["block"] == block) & (rows["kind"] == READ) for _, rows in found]
    epochs = sorted({int(e) for (_, rows), keep in zip(found, kept) for e in rows["epoch"][keep]})
    if not epochs:
        raise ValueError(f"block {block} reads nothing of {' or '.join(names)}")
    figure, axes = _figure(len(names), min(len(epochs), MOST_STEPS), 2.2, 2.2)
    for i, (name, (memory, rows), keep) in enumerate(zip(names, found, kept)):
        shape = _flat_shape(memory.shape)
        for step, (epoch, ax) in enumerate(zip(epochs, axes[i])):
            colors = np.tile(_rgb(FAINT), (int(np.prod(shape)), 1))
            colors[_elements(memory, rows, keep & (rows["epoch"] < epoch))[0]] = _rgb("#A9D0E8")
            colors[_elements(memory, rows, keep & (rows["epoch"] == epoch))[0]] = _rgb(BLUE)
            _cells(ax, colors.reshape(*shape, 3))
            if not i:
                ax.set_title(f"step {step + 1}", fontsize=BODY)
            if not step:
                ax.set_ylabel(name, rotation=0, labelpad=16, fontsize=TITLE, fontweight="bold")
            ax.set(xticks=[], yticks=[])
    first = f", the first {MOST_STEPS} of {len(epochs)} steps" * (len(epochs) > MOST_STEPS)
    figure.suptitle(
        f"What block {block} reads{first}", fontsize=TITLE, fontweight="bold", x=0.01, ha="left"
    )
    return figure


def banks(report, name, line=None, ax=None):
    """The worst request of a line for an array of shared memory: a column for each bank, a row for
    each 128 bytes, in each word the lane that wants it; banks that are asked for several words are
    red. Raises ValueError if nobody touches the array."""
    memory, rows = _accesses(report, name)
    number, transfers = report.requests[0], report.transfers[0]
    watcher = report.watcher
    keep = rows["kind"] != LANDED
    if line is not None:
        keep &= np.array([site.line == line for site in watcher.sites])[rows["site"]]
    if not keep.any():
        raise ValueError(f"nobody touches {name}" + (f" at line {line}" if line else ""))
    mine = number[rows["row"]]
    worst = mine[keep][np.argmax(transfers[mine[keep]])]
    keep &= mine == worst
    words = np.maximum(rows["size"][keep] // WORD, 1)
    lane = np.repeat(rows["thread"][keep] % WARP, words)
    word = spread((rows["offset"][keep] + memory.start) // WORD, words)
    return _draw_banks(ax, name, word, lane, int(transfers[worst]), report.lines, line)


def _draw_banks(ax, name, word, lane, wavefronts, lines, line):
    row, bank = np.unique(word // BANKS), word % BANKS
    crowd = np.array([len(np.unique(word[bank == each])) for each in range(BANKS)])
    figure, ax = _canvas(ax, (len(row), BANKS))
    colors = np.tile(_rgb(FAINT), (len(row), BANKS, 1))
    texts = np.full((len(row), BANKS), "", object)
    for each in np.unique(word):
        place = np.searchsorted(row, each // BANKS), each % BANKS
        wanting = lane[word == each]
        colors[place] = _rgb(VERMILLION if crowd[each % BANKS] > 1 else BLUE)
        texts[place] = f"{wanting[0]}" if len(wanting) == 1 else f"×{len(wanting)}"
    _cells(ax, colors, texts)
    ax.set_yticks(range(len(row)), [f"{each * BANKS * WORD:,}" for each in row])
    ax.set_xlabel("bank of shared memory", fontsize=BODY)
    ax.set_ylabel("byte", fontsize=BODY)
    took = "1 wavefront" if wavefronts == 1 else f"{wavefronts} wavefronts"
    where = f" at line {line}" if line else ""
    _title(ax, f"{name}{where}: which lane wants which word ({took})")
    return figure


def _accesses(report, name):
    """(the Memory of that name, its accesses with "row", their place among all)."""
    memories = report.watcher.memories
    numbers = [i for i, memory in enumerate(memories) if memory.name == name]
    if not numbers:
        known = ", ".join(memory.name for memory in memories)
        raise ValueError(f"no array {name!r}; this launch has {known}")
    row = np.flatnonzero(report.accesses["array"] == numbers[0])
    rows = {field: values[row] for field, values in report.accesses.items()}
    return memories[numbers[0]], rows | {"row": row}


def _elements(memory, rows, keep):
    """(elements that accesses touch, which of those kept touches each)."""
    size = memory.dtype.itemsize
    length = np.maximum(rows["size"][keep] // size, 1)
    return spread(rows["offset"][keep] // size, length), np.repeat(np.arange(keep.sum()), length)


def _owners(elements, owner, size):
    """(an owner of each element, how many it has)."""
    element, which = elements
    pairs = np.unique(np.stack([element, owner[which]]), axis=1)
    first = np.zeros(size, np.int64)
    first[pairs[0][::-1]] = pairs[1][::-1]
    return first, np.bincount(pairs[0], minlength=size)


def _flat_shape(shape):
    """Rows and columns to draw an array in."""
    if len(shape) == 1:
        wide = min(shape[0], MOST_CELLS)
        return (-(-shape[0] // wide), wide)
    return int(np.prod(shape[:-1])), shape[-1]


def _rgb(color):
    return np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def _cells(ax, colors, texts=None):
    """Cells of an array, with texts where there is room for them."""
    height, width = colors.shape[:2]
    ax.imshow(colors, aspect="equal", interpolation="nearest")
    if texts is not None and max(height, width) <= MOST_CELLS:
        for x in range(1, width):
            ax.axvline(x - 0.5, color=PAPER, linewidth=1.2)
        for y in range(1, height):
            ax.axhline(y - 0.5, color=PAPER, linewidth=1.2)
        for (y, x), text in np.ndenumerate(texts):
            light = colors[y, x] @ (0.299, 0.587, 0.114)
            color = INK if light > 0.5 else PAPER
            ax.text(x, y, text, ha="center", va="center", fontsize=SMALL, color=color)
    step = max(1, -(-max(height, width) // 16))
    ax.set_xticks(range(0, width, step))
    ax.set_yticks(range(0, height, step))
    ax.tick_params(length=0, labelsize=SMALL)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _title(ax, text):
    ax.set_title(text, fontsize=TITLE, fontweight="bold", loc="left", pad=10)


def _canvas(ax, shape, cell=CELL):
    """(what to return, axes to draw on)."""
    if ax is not None:
        return ax, ax
    height, width = (min(n, MOST_CELLS) * cell for n in shape)
    figure, axes = _figure(1, 1, max(width + 1.0, 6.0), height + 1.3)
    return figure, axes[0][0]


def _figure(rows, columns, width, height):
    """A figure with so many axes, each of that size in inches."""
    picture = _picture_class()(
        figsize=(columns * width + 0.4, rows * height + 0.5), dpi=DPI, layout="constrained"
    )
    picture.get_layout_engine().set(w_pad=0.12, h_pad=0.08)
    return picture, picture.subplots(rows, columns, squeeze=False)


@functools.cache
def _picture_class():
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install matplotlib") from error

    class Picture(Figure):
        """A Figure that a notebook shows as the value of a cell."""

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            FigureCanvasAgg(self)

        def _repr_png_(self):
            buffer = io.BytesIO()
            self.savefig(buffer, dpi=1.5 * DPI, metadata={"Software": None})
            return buffer.getvalue()

    return Picture
