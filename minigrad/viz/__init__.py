"""Pictures from plain data, in one style. Matplotlib is imported when the first one is drawn.

Every drawing function makes a figure and returns it, or draws on `ax=` and returns that. A figure
shows itself as the last value of a notebook cell; `save(figure, path)` writes it. No pyplot, no
`%matplotlib` line. Several in one figure: `fig, axes = figure(1, 2)`, `ax=axes[0]` ..., then `fig`.

Style (`style.py`, `colors.py`)
    COLORS: {role: colour}, "value", "gradient", "tangent", "parameter", "data", "highlight" ...
    color(role): the colour of a role; wherever `colors=` is taken, roles and colours both do
    figure(rows=1, columns=1, *, width=10.0, height=None, **options): (figure, axes) in the style
    use_style(): the style for pictures of your own; for good, or as a `with` block
    save(picture, path, dpi=150.0): a .png, .svg or .pdf file, the same bytes every time
Graphs (`graph.py`, `coursemap.py`)
    Node(id, label, kind="op", value=None, gradient=None, tangent=None): kind is "input",
        "parameter", "op" or "output"; an edge is (source, target) or (source, target, text)
    computation_graph(nodes, edges, *, walk=None, lit=None, order=None, direction="right",
        key=True, title=None, ax=None): a graph, or the first `lit` steps of a walk through it
    graph_walk(nodes, edges, *, walk="reverse", steps=None, order=None, titles=None,
        columns=None, direction=None, key=True, title=None): several moments of a walk
    course_map(chapters=COURSE, *, done=(), here=None, title=None, ax=None): the whole course
Shapes (`einsum.py`, `blocks.py`, `table.py`)
    einsum_diagram(subscripts, shapes=None, *, names=None, title=None, ax=None): which letters
        stay, which are summed
    matrix_product(products, shapes, sizes, *, roles=None, columns=None, title=None, ax=None):
        "dW = X.T @ dY" as rectangles to scale
    table(rows, headers=None, *, highlight=(), digits=4, caption=""): a table as HTML and text
Curves (`curves.py`, `surface.py`)
    lines(curves, *, xlabel="", ylabel="", title=None, log="", markers=False, dashed=(),
        colors=None, levels=None, marks=None, bands=None, labels="end", width=10.0, height=5.2,
        ax=None): {name: y or (x, y)}, named at the ends
    loss_curve(steps, losses, *, val=None, smooth=None, levels=None, title=None, ax=None,
        **options): a training run; options as for lines
    running_mean(values, length): the mean of each value and those just before it
    loss_surface(f, xrange, yrange, paths=None, *, minimum=None, levels=16, log=True,
        points=200, xlabel="$w_1$", ylabel="$w_2$", title=None, colors=None, width=9.5,
        height=6.0, ax=None): contours, with {name: (steps + 1, 2)} paths of optimizers
Matrices (`attention.py`)
    attention_maps(weights, tokens=None, *, keys=None, titles=None, mask=None, columns=None,
        title=None, width=None): weights (n, L, S), a panel each; mask "causal" or bool
    heatmap(matrix, rows=None, columns=None, *, annotate=None, signed=None, mask=None, label="",
        xlabel="", ylabel="", title=None, width=None, height=None, ax=None)
Heads (`heads.py`)
    turning_pairs(angles, *, notes=None, columns=None, title=None, ax=None): the pairs of a rotary
        embedding as hands of clocks; angles (positions, pairs)
    head_sharing(designs, *, notes=None, title=None, ax=None): {name: (n_heads, n_kv_heads)},
        which queries share keys and values
Memory of the past (`remembered.py`)
    cache_blocks(designs, *, unit="H", scale=34.0, title=None, ax=None): {name: [(heads,
        {part: size}), ...]}, what a cache keeps of a token, and which queries read it
Machines (`roofline.py`)
    roofline(points, peak, bandwidth, *, title=None, colors=None, width=11.0, height=6.4,
        ax=None): {name: [(intensity, speed, label), ...]} under the roof of a machine
Answers (`timeline.py`)
    token_timeline(requests, *, measured=None, unit=None, title=None, width=12.0, height=None,
        ax=None): {name: (asked, started, arrivals)}, requests as rows, a tick for each token
Ranks (`ranks.py`)
    rank_timeline(spans, *, names="rank {}", ranks=None, thin=MESSAGES, colors=None, unit=None,
        end=None, title=None, width=13.0, height=None, ax=None): (rank, begin, end, label, role)
        tuples, a row a rank, boxes of work and thin lanes of messages on one clock
Between ranks (`routing.py`, `tiles.py`, `slices.py`)
    rank_items(stages, *, names="rank {}", key=None, colors=None, lines=True, title=None, ax=None):
        {moment: [[(label, role, id), ...] of each rank]}, who holds what, and where it goes next
    attention_tiles(panels, *, names="rank {}", notes=None, key=True, title=None, width=13.0,
        height=None): {name: (n, [(row, column, rank, label, cut), ...])}, who works on which
        tile of an attention matrix
    sliced_products(items, sizes, *, ranks=2, title=None, ax=None): a chain of products, matrices
        (name, (rows, columns), cut) in slices, a colour for each rank, and what passes between
Bars (`bars.py`)
    bars(values, *, unit="", xlabel="", title=None, highlight=(), colors=None, log=False,
        digits=3, width=10.0, height=None, ax=None): {name: number}
    stacked_bars(stacks, *, unit="", xlabel="", title=None, colors=None, digits=3, total=None,
        width=11.0, height=None, ax=None): {bar: {part: number}}, memory by what holds it
Text (`written.py`)
    token_rows(rows, *, lit=(), title=None, ax=None): {label: tokens}, text cut into tokens, a box
        each, row under row; tokens are str or bytes
    passages(rows, *, unit="", width=12.0, digits=3, title=None, ax=None): (name, number, text)
        triples under each other
Decoding (`decoding.py`)
    beam_tree(nodes, *, best=None, dropped=0, title=None, ax=None): the texts that a beam search
        looked at, from (parent, token, log probability, fate) tuples
    token_bars(panels, names, *, top=10, title=None, width=13.0): {row: {column: probabilities
        (V,), or (probabilities, keep (V,))}}, what filters leave of a distribution
Terminal (`text.py`), without matplotlib
    text_curve(losses, width=64, height=12, *, steps=None, xlabel="step", ascii=False): str
    text_bars(probabilities, labels=None, *, width=40, top=None, percent=True, ascii=False): str

`minigrad.graph.graph_of(tensor, names)` gives the nodes and edges of a graph that really ran.
"""

from minigrad.viz import style
from minigrad.viz.attention import attention_maps, heatmap
from minigrad.viz.bars import bars, stacked_bars
from minigrad.viz.blocks import matrix_product
from minigrad.viz.coursemap import COURSE, course_map
from minigrad.viz.curves import lines, loss_curve, running_mean
from minigrad.viz.decoding import beam_tree, token_bars
from minigrad.viz.einsum import einsum_diagram
from minigrad.viz.graph import Node, computation_graph, graph_walk
from minigrad.viz.heads import head_sharing, turning_pairs
from minigrad.viz.ranks import rank_timeline
from minigrad.viz.remembered import cache_blocks
from minigrad.viz.roofline import roofline
from minigrad.viz.routing import rank_items
from minigrad.viz.slices import sliced_products
from minigrad.viz.style import COLORS, color, figure, save, use_style
from minigrad.viz.surface import loss_surface
from minigrad.viz.table import table
from minigrad.viz.text import text_bars, text_curve
from minigrad.viz.tiles import attention_tiles
from minigrad.viz.timeline import token_timeline
from minigrad.viz.written import passages, token_rows

__all__ = [
    "COLORS",
    "COURSE",
    "Node",
    "attention_maps",
    "attention_tiles",
    "bars",
    "beam_tree",
    "cache_blocks",
    "color",
    "computation_graph",
    "course_map",
    "einsum_diagram",
    "figure",
    "graph_walk",
    "head_sharing",
    "heatmap",
    "lines",
    "loss_curve",
    "loss_surface",
    "matrix_product",
    "passages",
    "rank_items",
    "rank_timeline",
    "roofline",
    "running_mean",
    "save",
    "sliced_products",
    "stacked_bars",
    "style",
    "table",
    "text_bars",
    "text_curve",
    "token_bars",
    "token_rows",
    "token_timeline",
    "turning_pairs",
    "use_style",
]
