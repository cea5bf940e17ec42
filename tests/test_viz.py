"""Pictures: they are made from what one has, can be read from the back row, and say what is wrong.

Every picture in PICTURES is looked at by the tests at the top: no letter under 12 points, none cut
off, none on top of another.
"""

import itertools
import math
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minigrad import viz
from minigrad.viz import colors, layout, overview, style

ROOT = Path(__file__).resolve().parents[1]
NODES = [
    ("x", "x", "input", 3.0, -4.0),
    ("w", "w", "parameter", -1.0, -12.0),
    ("b", "b", "parameter", 2.0, -4.0),
    ("m", "×", "op", -3.0, -4.0),
    ("s", "+", "op", -1.0, -4.0),
    ("l", "loss = ( )²", "output", 1.0, 1.0),
]
EDGES = [("x", "m"), ("w", "m"), ("m", "s"), ("b", "s"), ("s", "l")]
DUAL = [
    {"id": 0, "label": "x", "kind": "input", "value": 2, "tangent": 1},
    {"id": 1, "label": "sin", "value": 0.909, "tangent": -0.416},
    viz.Node(2, "x · x", value=4.0, tangent=4.0),
    viz.Node(3, "y", "output", value=4.909, tangent=3.584),
]
DUAL_EDGES = [(0, 1, "cos x"), (0, 2), (0, 2), (1, 3), (2, 3)]
SHAPES = {"X": ("B", "D1"), "W": ("D1", "D2"), "dY": ("B", "D2")}
SIZES = {"B": 6, "D1": 4, "D2": 3}
THREE = ["Y = X @ W", "dW = X.T @ dY", "dX = dY @ W.T"]


def valley(x, y):
    return (1 - x) ** 2 + 20 * (y - x * x) ** 2


def descend(step, steps=40):
    points = [np.array([-1.4, 1.6])]
    for _ in range(steps):
        x, y = points[-1]
        slope = np.array([-2 * (1 - x) - 80 * x * (y - x * x), 40 * (y - x * x)])
        points.append(points[-1] - step * slope)
    return np.array(points)


def attention(n, length, seed=0):
    scores = np.exp(3 * np.random.default_rng(seed).random((n, length, length)))
    scores *= np.tri(length)
    return scores / scores.sum(-1, keepdims=True)


def noisy_losses(n=1500):
    return 1.5 + 2.7 * np.exp(-np.arange(n) / 300) + 0.1 * np.sin(np.arange(n) ** 2)


def random_graph(nodes, seed):
    draw = random.Random(seed)
    pairs = itertools.combinations(range(nodes), 2)
    edges = [pair for pair in pairs if draw.random() < 1.6 / nodes]
    return [(i, f"node {i}", draw.choice(["op", "input"]), i * 0.5) for i in range(nodes)], edges


PICTURES = {
    "graph": lambda: viz.computation_graph(NODES, EDGES, title="One graph of small steps"),
    "graph down": lambda: viz.computation_graph(DUAL, DUAL_EDGES, direction="down"),
    "graph tangents": lambda: viz.computation_graph(DUAL, DUAL_EDGES, title="Tangents flow too"),
    "graph of one node": lambda: viz.computation_graph([("a", "a")], []),
    "graph unconnected": lambda: viz.computation_graph(NODES, []),
    "graph large": lambda: viz.computation_graph(*random_graph(40, 3)),
    "graph lit": lambda: viz.computation_graph(NODES, EDGES, walk="reverse", lit=3),
    "walk back": lambda: viz.graph_walk(NODES, EDGES, title="One walk reaches every gradient"),
    "walk forward": lambda: viz.graph_walk(DUAL, DUAL_EDGES, walk="forward", steps=[0, 2, 4]),
    "course": lambda: viz.course_map(done=[0, 1], here=2, title="From a derivative to a model"),
    "course small": lambda: viz.course_map([(7, "A rather long name of a chapter", "I")]),
    "einsum": lambda: viz.einsum_diagram("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
    "einsum attention": lambda: viz.einsum_diagram(
        "bhid,bhjd->bhij", [(2, 4, 128, 64)] * 2, names=["Q", "K", "scores"]
    ),
    "einsum dots": lambda: viz.einsum_diagram("...ij,jk", [(2, 8, 3, 4), (4, 5)]),
    "einsum trace": lambda: viz.einsum_diagram("ii->", [(3, 3)]),
    "einsum chain": lambda: viz.einsum_diagram("ij,jk,kl,lm->im"),
    "einsum all": lambda: viz.einsum_diagram("ijk,ijk->", [(2, 3, 4), (2, 3, 4)]),
    "einsum outer": lambda: viz.einsum_diagram("i,j->ij"),
    "blocks": lambda: viz.matrix_product(THREE, SHAPES, SIZES, title="Shapes force the answer"),
    "blocks one": lambda: viz.matrix_product("Y = X @ W", SHAPES, {"B": 512, "D1": 8, "D2": 1}),
    "blocks two": lambda: viz.matrix_product(["Y = X @ W", "G = X.T @ X"], SHAPES, SIZES),
    "lines": lambda: viz.lines(
        {"forward mode": [1, 2, 4.0], "reverse mode": [1, 1.1, 1.2], "theory": [1, 2, 3.9]},
        xlabel="inputs",
        ylabel="cost (forward passes)",
        title="One walk back costs the same however many inputs there are, "
        "forward mode pays once for every input and soon costs more",
        dashed=["theory"],
        markers=True,
    ),
    "lines log": lambda: viz.lines(
        {"10 k": ([1e3, 1e5, 1e7], [5, 3.5, 3.0]), "1 M": ([1e4, 1e6, 1e8], [7, 3.4, 2.0])},
        log="xy",
        xlabel="training tokens",
        ylabel="loss (nats)",
        levels={"guessing": 4.17},
        marks={"budget": 1e6},
        bands={"1 M": ([6, 3, 1.8], [8, 3.9, 2.2])},
    ),
    "lines same end": lambda: viz.lines({name: [3, 2, 1.0] for name in "abcdefg"}),
    "lines one": lambda: viz.lines({"loss": [2, float("nan"), 1]}, xlabel="step", ylabel="loss"),
    "lines legend": lambda: viz.lines({"a": [1, 2], "b": [2, 1]}, labels="legend"),
    "loss": lambda: viz.loss_curve(
        range(1500),
        noisy_losses(),
        val=([500, 1000, 1499], [2.1, 1.7, 1.6]),
        levels={"ln 65": 4.17},
    ),
    "loss of one step": lambda: viz.loss_curve([1], [4.2]),
    "surface": lambda: viz.loss_surface(
        valley,
        (-2, 2),
        (-1, 3),
        {"SGD": descend(0.004), "Adam": descend(0.001), "Newton": np.array([[-1.4, 1.6], [1, 1]])},
        minimum=(1, 1),
        title="The valley bends, steepest descent zigzags",
    ),
    "surface bare": lambda: viz.loss_surface(lambda x, y: x + y, (0, 1), (0, 1), log=False),
    "surface flat": lambda: viz.loss_surface(lambda x, y: 0 * x + 3, (0, 1), (0, 1)),
    "attention": lambda: viz.attention_maps(
        attention(4, 12),
        list("To be, or $$"),
        titles=[f"head {i}" for i in range(4)],
        mask="causal",
        title="With the mask no token looks ahead",
    ),
    "attention words": lambda: viz.attention_maps(
        attention(2, 6),
        ["the", "quick", "brown", "fox", "jumps", "over"],
        titles=["before", "after"],
    ),
    "attention large": lambda: viz.attention_maps(attention(1, 96)[0], mask="causal"),
    "attention cached": lambda: viz.attention_maps(
        np.full((3, 2, 7), 1 / 7), list("fg"), keys=list("abcdefg"), mask="causal"
    ),
    "attention of one": lambda: viz.attention_maps(np.ones((1, 1, 1)), ["a"]),
    "heatmap": lambda: viz.heatmap(
        np.array([[1.5, -0.2, 0.0], [-2.25, 0.125, 3e-7]]),
        ["first", "second"],
        ["Monday", "Tuesday", "Wednesday"],
        label="weight",
        title="Signs have colours",
    ),
    "heatmap large": lambda: viz.heatmap(np.arange(1600).reshape(40, 40)),
    "heatmap masked": lambda: viz.heatmap(np.ones((3, 3)), mask=np.tri(3, dtype=bool)),
    "heatmap zero": lambda: viz.heatmap([[0.0]]),
    "turning pairs": lambda: viz.turning_pairs(
        np.arange(9)[:, None] * 100.0 ** (-np.arange(5) / 5), title="Fast hands and slow hands"
    ),
    "turning one pair": lambda: viz.turning_pairs([[0.5]], notes=["half a radian"]),
    "turning noted": lambda: viz.turning_pairs(
        np.ones((2, 3)), notes=["a rather long note under it", "b", "c"], columns=2
    ),
    "head sharing": lambda: viz.head_sharing(
        {"MHA": (6, 6), "GQA": (6, 2), "MQA": (6, 1)},
        notes={"MHA": "2 · 6 · H numbers", "GQA": "2 · 2 · H numbers\na third"},
        title="Fewer keys to remember",
    ),
    "head sharing one": lambda: viz.head_sharing({"a head with a long name": (1, 1)}),
    "cache blocks": lambda: viz.cache_blocks(
        {
            "GQA": [(2, {"k": 1, "v": 1}), (3, {"k": 1, "v": 1})],
            "MLA": [(5, {"c": 4, "k_R": 0.5})],
        },
        title="Heads share what they remember",
    ),
    "cache blocks one": lambda: viz.cache_blocks({"alone": [(1, {"k": 0.25})]}, unit="numbers"),
    "roofline": lambda: viz.roofline(
        {
            "prefill": [(8.0, 9e10, "L 16"), (30.0, 1.7e11, "L 64"), (100.0, 1.9e11, "L 256")],
            "decode": [(0.5, 1.6e10, "B 1"), (1.0, 2.4e10, "B 2"), (7.6, 8.8e10, "B 16")],
        },
        2e11,
        3.3e10,
        title="Prefill waits for arithmetic, decode for memory",
    ),
    "roofline crowded": lambda: viz.roofline(
        {name: [(2.0 + i / 50, 4e10, f"{name} {i}") for i in range(9)] for name in "ab"}, 2e11, 3e10
    ),
    "roofline bare": lambda: viz.roofline({}, 9.89e14, 3.35e12),
    "rank timeline": lambda: viz.rank_timeline(
        [
            (r, 2 * m + r, 2 * m + r + 1 + m / 9, f"{m}", "forward" if m < 5 else "backward")
            for r in range(4)
            for m in range(9)
        ]
        + [(r, 3.0 + r, 6.5, "", "communication") for r in range(4)],
        names="stage {}",
        title="Stages wait for each other",
    ),
    "rank timeline of a thousand": lambda: viz.rank_timeline(
        [(0, i, i + 0.9, f"a long label {i}", "compute") for i in range(1000)], unit=("steps", 1)
    ),
    "sliced products": lambda: viz.sliced_products(
        [
            ("X", ("L", "D"), "rows"),
            {"name": "g", "forward": "AllGather", "backward": "ReduceScatter"},
            "·",
            ("A", ("D", "F"), "columns"),
            "=",
            ("Y", ("L", "F"), "partial"),
            ("Z", ("L", "D")),
        ],
        {"L": 90, "D": 60, "F": 130},
        ranks=3,
        title="Each rank holds its slice",
    ),
    "token timeline": lambda: viz.token_timeline(
        {
            "short question": (0.0, 0.0, 0.08 + 0.016 * np.arange(32)),
            "long $ answer": (0.1, 0.3, 0.4 + 0.016 * np.arange(96)),
        },
        measured="short question",
        title="TTFT is the block",
    ),
    "token timeline one": lambda: viz.token_timeline({"x": (0.0, 0.0, [0.5])}, measured="x"),
    "bars": lambda: viz.bars(
        {"naive": 1.4, "tiled": 8.1, "cuBLAS": 50}, unit="TFLOP/s", title="Rungs", highlight="tiled"
    ),
    "bars both ways": lambda: viz.bars([("down", -30.0), ("up", 12), ("none", 0)], unit="%"),
    "bars log": lambda: viz.bars({"naive": 2e9, "best order": 1.7e7}, log=True, unit="operations"),
    "bars empty": lambda: viz.bars({}),
    "stacked": lambda: viz.stacked_bars(
        {
            "float32 + Adam": {"weights": 4, "gradients": 4, "optimizer": 8},
            "mixed": {"weights": 2, "gradients": 2, "optimizer": 12, "activations": 0.05},
        },
        unit="bytes per parameter",
        title="Sixteen bytes a parameter either way",
        colors={"weights": "parameter", "gradients": "gradient"},
    ),
    "stacked empty": lambda: viz.stacked_bars({"nothing": {"weights": 0}}),
    "token rows": lambda: viz.token_rows(
        {"bytes": list("naïve 😀"), "1: n + a": ["na", b"\xc3", b"\xaf", "v", "e", " 😀"]},
        lit=["na"],
        title="One merge later",
    ),
    "token rows of bytes": lambda: viz.token_rows([("😀", [b"\xf0\x9f", b"\x98", b"\x80"])]),
    "passages": lambda: viz.passages(
        [
            ("letters", 28.7, "t a eh\n\nosr $n$"),
            ("a rather long name", 4.0, "What light is this, " + "and more " * 30),
            ("Shakespeare", None, ""),
        ],
        unit="perplexity",
        title="From noise to English",
    ),
    "overview": lambda: overview.overview(),
    "overview measured": lambda: overview.overview(MEASURED),
}
MEASURED = {
    "parameters": 1234,
    "losses": list(noisy_losses(300)),
    "held_out": [(0, 4.3), (300, 2.0)],
    "before": "qz$vX$ lk\njh",
    "after": {"greedy": "the the", "top-p 0.9": "ROMEO:\nWhat light is this, " + "and more " * 30},
}


def texts_of(picture):
    """(text, its artist) of all that is written and drawn in a figure or axes."""
    from matplotlib.text import Text

    picture = picture.figure
    picture.draw_without_rendering()
    hidden = set()
    for ax in picture.axes:
        for axis in (ax.xaxis, ax.yaxis):
            drawn = {id(tick) for tick in axis._update_ticks()} if ax.axison else set()
            for tick in [*axis.majorTicks, *axis.minorTicks]:
                if id(tick) not in drawn:
                    hidden |= {tick.label1, tick.label2}
            if not ax.axison:
                hidden |= {axis.label, axis.offsetText}
    artists = picture.findobj(Text)
    kept = [t for t in artists if t.get_visible() and t.get_text().strip() and t not in hidden]
    return [(t.get_text(), t) for t in dict.fromkeys(kept)]


@pytest.fixture(scope="module")
def pictures():
    made = {}

    def picture(name):
        if name not in made:
            made[name] = PICTURES[name]()
        return made[name]

    return picture


@pytest.mark.parametrize("name", PICTURES)
def test_every_letter_can_be_read(name, pictures):
    from matplotlib.text import Text

    picture = pictures(name)
    whole = picture.figure.bbox
    boxes = []
    for text, artist in texts_of(picture):
        assert artist.get_fontsize() >= 12, f"{text!r} has {artist.get_fontsize():.1f} points"
        box = Text.get_window_extent(artist)  # of an annotation: without its arrow
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= whole.x1 + 1 and box.y1 <= whole.y1 + 1
        assert inside, f"{text!r} is cut off: {box.extents.round()} in {whole.extents}"
        boxes.append((text, box))
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        high = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert wide < 2 or high < 2, f"{one!r} lies on {other!r} ({wide:.0f} x {high:.0f} pixels)"


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_fits_on_a_slide(name, pictures):
    wide, high = pictures(name).figure.get_size_inches()
    if name != "graph large":
        assert wide <= 14
        assert high <= 12.5


@pytest.mark.parametrize("name", ["walk back", "loss", "heatmap"])
def test_the_same_picture_is_the_same_file(name, tmp_path):
    files = [tmp_path / f"{number}.{ending}" for ending in ("png", "svg") for number in (1, 2)]
    for file in files:
        viz.save(PICTURES[name](), file)
    for one, other in (files[:2], files[2:]):
        assert one.read_bytes() == other.read_bytes()
    assert sorted(tmp_path.iterdir()) == sorted(files)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("graph", ["x", "×", "= −3", "∇ −12", "loss = ( )²", "parameter", "∇ gradient"]),
        ("graph tangents", ["+ 1 ε", "− 0.416 ε", "= 4.91", "cos x"]),
        ("course", ["00", "37", "Multimodal models", "you are here", "to come"]),
        (
            "einsum",
            ["Σ j", "b, i and k stay, j is summed", "out[b, i, k] = Σ_j A[b, i, j] · B[b, j, k]"],
        ),
        ("einsum dots", ["…, i and k stay, j is summed", "2×8"]),
        ("einsum outer", ["i and j stay, nothing is summed", "out[i, j] = A[i] · B[j]"]),
        ("einsum trace", ["Nothing stays, i is summed", "out = Σ_i A[i, i]"]),
        ("blocks", ["Xᵀ", "dY", "Wᵀ", "(D1, D2) = (D1, B) · (B, D2)"]),
        ("lines log", ["10 k", "1 M", "guessing", "budget", "training tokens"]),
        ("loss", ["training", "validation", "step", "ln 65"]),
        ("surface", ["SGD", "Adam", "Newton", "start", "minimum"]),
        ("attention", ["head 3", "␣", "$", "attention weight", "token that looks"]),
        ("heatmap", ["Wednesday", "−2.2", "3×10⁻⁷", "weight"]),
        ("turning pairs", ["pair 0", "1 rad a step", "pair 4", "0.025 rad a step"]),
        ("turning noted", ["a rather long note under it", "pair 2"]),
        ("head sharing", ["MHA", "queries", "keys and values", "2 · 2 · H numbers a third"]),
        ("cache blocks", ["GQA", "4 H", "MLA", "4.5 H", "k_R", "q"]),
        ("token timeline", ["TTFT", "latency", "waits", "a token", "long $ answer", "time (s)"]),
        ("token timeline one", ["time (ms)", "TTFT"]),
        ("roofline", ["200 GFLOP/s", "33 GB/s", "6.06 FLOP/byte", "L 256", "B 1", "decode"]),
        ("roofline bare", ["989 TFLOP/s", "295 FLOP/byte", "speed (TFLOP/s)"]),
        ("bars", ["1.4 TFLOP/s", "cuBLAS"]),
        ("bars log", ["2×10⁹ operations"]),
        ("stacked", ["16 bytes per parameter", "weights", "12"]),
        ("token rows", ["bytes", "ï", "1: n + a", "␣"]),
        ("token rows of bytes", ["F0", "9F", "98", "80"]),
        ("passages", ["letters", "perplexity 28.7", "t a eh", "osr $n$", "Shakespeare"]),
        ("overview measured", ["before training", "after training", "ROMEO:"]),
    ],
)
def test_pictures_say_what_they_were_given(name, expected, pictures):
    written = [" ".join(text.split()) for text, _ in texts_of(pictures(name))]
    assert [text for text in expected if text not in written] == []


def test_drawing_on_given_axes_returns_them():
    picture, axes = viz.figure(2, 3, width=14, height=9)
    draw = [
        lambda ax: viz.lines({"a": [1, 2]}, title="A", ax=ax),
        lambda ax: viz.bars({"a": 1}, title="B", ax=ax),
        lambda ax: viz.heatmap([[1, 2]], ax=ax),
        lambda ax: viz.loss_surface(valley, (-2, 2), (-1, 3), ax=ax),
        lambda ax: viz.computation_graph(NODES, EDGES, title="C", ax=ax),
        lambda ax: viz.einsum_diagram("ij,jk->ik", ax=ax),
    ]
    for ax, fill in zip(axes.flat, draw, strict=True):
        assert fill(ax) is ax
    assert picture._repr_png_()[0].startswith(b"\x89PNG")


def test_no_label_of_a_point_under_the_roof_stands_above_it():
    points = {"a": [(20.0, 1.8e11, "near"), (70.0, 1.99e11, "at"), (300.0, 1e11, "far")]}
    picture = viz.roofline(points, 2e11, 3e10)
    ax, places = picture.axes[0], {}
    for text, artist in texts_of(picture):
        places[text] = artist.get_window_extent()
    roof = ax.transData.transform((20.0, 200))[1]
    assert all(places[label].y1 < roof for label in ("near", "at", "far"))
    point = ax.transData.transform((300.0, 100))[1]
    assert places["far"].y0 > point  # where there is room it is above its point


def test_a_bars_total_counts_the_parts_that_are_named():
    bars = {"pass 1": {"read": 0, "new": 6}, "pass 2": {"read": 6, "new": 1}}
    picture = viz.stacked_bars(bars, total=["new"], unit="tokens")
    written = [text for text, _ in texts_of(picture)]
    assert "1 tokens" in written and "7 tokens" not in written


def test_a_notebook_shows_the_figure_sharp_at_its_size():
    picture = viz.bars({"a": 1}, width=4, height=2)
    data, size = picture._repr_png_()
    assert size == {"width": 400, "height": 200}
    assert int.from_bytes(data[16:20]) == 600


def test_no_picture_touches_pyplot_or_the_readers_settings():
    code = (
        "import matplotlib, sys; before = matplotlib.rcParams.copy()\n"
        "from minigrad import viz; viz.lines({'a': [1, 2], 'b': [2, 1]})._repr_png_()\n"
        "print('matplotlib.pyplot' in sys.modules, before == matplotlib.rcParams.copy())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["False", "True"], done.stderr


def test_use_style_holds_for_good_or_for_a_block():
    import matplotlib

    before = matplotlib.rcParams["font.size"]
    with viz.use_style():
        assert matplotlib.rcParams["font.size"] == style.BODY
    assert matplotlib.rcParams["font.size"] == before


def test_text_pictures_need_no_matplotlib_and_others_say_how_to_get_it():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from minigrad import viz\n"
        "viz.text_curve([2, 1]); viz.text_bars([0.5]); viz.table([(1,)], ['a'])\n"
        "calls = [lambda: viz.bars({'a': 1}), lambda: viz.computation_graph([('a', 'a')], []),\n"
        "         viz.figure, viz.use_style, lambda: viz.color('crimson')]\n"
        "for draw in calls:\n"
        "    try:\n"
        "        draw()\n"
        "    except ImportError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ['pictures need matplotlib: pip install -e ".[course]"'] * 5


# Layout


@pytest.mark.parametrize("direction", ["right", "down"])
@pytest.mark.parametrize("seed", range(6))
def test_no_two_nodes_overlap_and_edges_pass_none(seed, direction):
    nodes, edges = random_graph(5 + 7 * seed, seed)
    draw = random.Random(seed)
    sizes = {node[0]: (draw.uniform(30, 160), draw.uniform(25, 90)) for node in nodes}
    plan = layout.layered_layout(sizes, edges, direction=direction)
    boxes = {
        node: (x - sizes[node][0] / 2, y - sizes[node][1] / 2, *sizes[node])
        for node, (x, y) in plan.centers.items()
    }
    for node, (x, y, width, height) in boxes.items():
        assert x > -1e-6 and x + width < plan.width + 1e-6, node
        assert y > -1e-6 and y + height < plan.height + 1e-6, node
    for (_, a), (_, b) in itertools.combinations(boxes.items(), 2):
        apart = a[0] + a[2] < b[0] or b[0] + b[2] < a[0] or a[1] + a[3] < b[1] or b[1] + b[3] < a[1]
        assert apart
    for route in plan.routes:
        for px, py in route:
            assert not any(x < px < x + w and y < py < y + h for x, y, w, h in boxes.values())
    for source, target in edges:
        (x0, y0), (x1, y1) = plan.centers[source], plan.centers[target]
        assert x1 > x0 if direction == "right" else y1 < y0


def test_layout_is_the_same_every_time():
    nodes, edges = random_graph(30, 1)
    sizes = {node[0]: (50.0, 30.0) for node in nodes}
    assert layout.layered_layout(sizes, edges) == layout.layered_layout(dict(sizes), list(edges))


def test_a_tree_is_drawn_without_crossings():
    edges = [(2, 0), (5, 1), (3, 0), (4, 1), (0, 6), (1, 6)]
    plan = layout.layered_layout(dict.fromkeys(range(7), (40, 20)), edges)
    assert layout.crossings(plan.layers, edges) == 0


def test_what_goes_straight_is_drawn_straight():
    sizes = dict.fromkeys(["a", "w", "b", "v", "c", "u", "d"], (40.0, 20.0))
    edges = [("a", "b"), ("w", "b"), ("b", "c"), ("v", "c"), ("c", "d"), ("u", "d")]
    places = layout.layered_layout(sizes, edges).centers
    assert abs(places["b"][1] - places["d"][1]) < 5


@pytest.mark.parametrize("seed", range(5))
def test_spread_keeps_order_and_gaps_and_moves_nothing_in_vain(seed):
    draw = np.random.default_rng(seed)
    wanted, widths = draw.normal(0, 20, 9), draw.uniform(1, 12, 9)
    got = np.array(layout.spread(list(wanted), list(widths), 2.0))
    least = (widths[1:] + widths[:-1]) / 2 + 2.0
    assert (np.diff(got) >= least - 1e-9).all()
    easy = np.cumsum(np.r_[0, least]) * 3
    assert layout.spread(list(easy), list(widths), 2.0) == pytest.approx(list(easy))


# Walks


def test_a_walk_shows_only_what_is_known_so_far():
    reverse = viz.computation_graph(NODES, EDGES, walk="reverse", lit=2)
    written = [text for text, _ in texts_of(reverse)]
    assert written.count("∇ 1") == 1 and written.count("∇ −4") == 1
    assert {"= 3", "1", "2"} <= set(written) and "∇ −12" not in written and "3" not in written
    forward = viz.computation_graph(DUAL, DUAL_EDGES, walk="forward", lit=2)
    written = [text for text, _ in texts_of(forward)]
    assert "− 0.416 ε" in written and "+ 4 ε" not in written and "= 4" not in written


def test_a_walk_follows_the_order_that_it_is_given():
    order = ["l", "s", "b", "m", "w", "x"]
    picture = viz.graph_walk(NODES, EDGES, order=order, steps=[3, 5])
    written = [text for text, _ in texts_of(picture)]
    assert "step 3: b" in written and "step 5: w" in written


def test_reverse_order_meets_every_consumer_first():
    ids = [node[0] for node in NODES]
    order = layout.topological_order(ids, EDGES)[::-1]
    assert all(order.index(target) < order.index(source) for source, target in EDGES)


# Style


@pytest.mark.parametrize("role", sorted(colors.COLORS))
def test_ink_of_every_colour_reads_on_white(role):
    assert 1.05 / (colors._luminance(viz.style.ink(role)) + 0.05) >= 4.5


def test_names_with_a_role_keep_their_colour_and_the_rest_share_what_is_left():
    found = colors.colors_for(["mine", "Adam", "SGD", "other"])
    assert found["Adam"] == viz.COLORS["adam"] and found["SGD"] == viz.COLORS["sgd"]
    assert len(set(found.values())) == 4
    chosen = colors.colors_for(["one", "two"], {"one": "highlight"})
    assert chosen["one"] == viz.COLORS["highlight"] != chosen["two"]
    assert len(colors.colors_for([f"curve {i}" for i in range(30)])) == 30


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (3, "3"),
        (-2.50, "−2.5"),
        (1234567, "1,230,000"),
        (0.00012345, "0.000123"),
        (1e-16, "1×10⁻¹⁶"),
        (-2.5e12, "−2.5×10¹²"),
        (float("nan"), "nan"),
        (float("-inf"), "−∞"),
        (np.float32(0.1), "0.1"),
        ("as given", "as given"),
    ],
)
def test_numbers_are_short(value, text):
    assert style.number(value) == text


# Tables


def test_table_as_text():
    rows = [("Q", (2, 8, 16), 3.14159, 12345), ("scores", (2, 4, 8, 8), -2.0, 1)]
    made = viz.table(rows, ["name", "shape", "value", "count"], highlight=[(0, "shape")])
    assert repr(made) == "\n".join(
        [
            "name    shape         value   count",
            "──────  ────────────  ─────  ──────",
            "Q       *(2, 8, 16)*  3.142  12,345",
            "scores  (2, 4, 8, 8)     −2       1",
        ]
    )


def test_table_as_html_escapes_and_marks():
    rows = [{"op": "a < b", "n": None}]
    html = viz.table(rows, highlight=0, caption="x & y")._repr_html_()
    assert "a &lt; b" in html and "x &amp; y" in html
    assert html.count("<b>") == 2 and html.count("<th ") == 2
    assert (
        html == viz.table([{"op": "a < b", "n": None}], highlight=0, caption="x & y")._repr_html_()
    )


def test_table_of_nothing():
    assert repr(viz.table([], ["a", "bc"])).splitlines() == ["a  bc", "─  ──"]


# Text pictures


def test_text_curve():
    assert viz.text_curve([4.0, 2.0, 1.0], 34, 6, steps=(1, 3)) == "\n".join(
        [
            "4.00 ┤⠉⠒⠢⢄⣀",
            "     │     ⠉⠑⠒⠤⣀⡀",
            "     │          ⠈⠉⠒⠢⠤⢄⣀⣀",
            "1.00 ┤                  ⠉⠉⠉⠒⠒⠢⠤⠤⢄⣀",
            "     └────────────────────────────",
            "      1           step           3",
        ]
    )


def test_text_curve_in_ascii():
    assert viz.text_curve([4.0, 2.0, 1.0], 24, 6, ascii=True) == "\n".join(
        [
            "4.00 +***",
            "     |   ****",
            "     |       ******",
            "1.00 +             *****",
            "     +------------------",
            "      0      step      2",
        ]
    )


@pytest.mark.parametrize("count", [1, 2, 63, 200, 5000])
@pytest.mark.parametrize("ascii", [True, False])
def test_text_curve_keeps_to_its_size(count, ascii):
    values = [3 + math.sin(i) + 1000 / (i + 1) for i in range(count)]
    picture = viz.text_curve(values, 50, 9, ascii=ascii).splitlines()
    assert len(picture) == 9
    assert max(map(len, picture)) <= 50
    if ascii:
        assert "".join(picture).isascii()


def test_text_curve_leaves_gaps_where_nothing_is_known():
    picture = viz.text_curve([1.0, 1.0, float("nan"), float("nan"), 2.0, 2.0], 30, 5)
    top, *_, bottom = [line[6:] for line in picture.splitlines()[:3]]
    assert top.startswith("    ") and bottom.strip() and len(bottom) < len(top)


def test_text_bars():
    assert viz.text_bars([0.5, 0.25, 0.03125], ["e", " ", "\n"], width=8) == "\n".join(
        ["e ████████ 50.0 %", "␣ ████     25.0 %", "↵ ▌         3.1 %"]
    )
    assert viz.text_bars([1, 3, 2], list("abc"), width=6, top=2, percent=False, ascii=True) == (
        "b ###### 3\nc ####   2"
    )
    assert viz.text_bars([]) == ""
    assert viz.text_bars([0.0], ["none"], width=2) == "none    0.0 %"


def test_running_mean_looks_back_only_and_over_gaps():
    got = viz.running_mean([2.0, 4.0, float("nan"), 9.0, 1.0], 2)
    np.testing.assert_allclose(got, [2.0, 3.0, 4.0, 9.0, 5.0])
    assert np.isnan(viz.running_mean([float("nan"), 1.0], 1)[0])


# The overview


def test_overview_draws_the_derivatives_that_finite_differences_find():
    nodes, _ = overview.small_graph()
    at = {node.id: node for node in nodes}

    def loss(x, w, t):
        return (x * w - t) ** 2

    x, w, t = (at[name].value for name in "xwt")
    h = 1e-6
    assert at["loss"].value == loss(x, w, t)
    assert at["x"].gradient == pytest.approx((loss(x + h, w, t) - loss(x - h, w, t)) / (2 * h))
    assert at["w"].gradient == pytest.approx((loss(x, w + h, t) - loss(x, w - h, t)) / (2 * h))
    assert at["t"].gradient == pytest.approx((loss(x, w, t + h) - loss(x, w, t - h)) / (2 * h))


def test_overview_is_written_where_it_is_told(tmp_path):
    out = tmp_path / "overview.png"
    assert overview.main(["--out", str(out), "--measured", str(tmp_path / "none.json")]) == out
    assert out.read_bytes().startswith(b"\x89PNG")


def test_the_map_names_every_notebook():
    numbers = [number for number, _, _ in viz.COURSE]
    assert sorted(numbers) == list(range(39))
    stored = {int(path.name[:2]) for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")}
    assert stored <= set(numbers)


# Bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: viz.computation_graph(NODES, [("x", "q")]), "there is no node 'q'"),
        (lambda: viz.computation_graph(NODES, [*EDGES, ("l", "x")]), "cycle through ['x', 'm'"),
        (lambda: viz.computation_graph([*NODES, NODES[0]], EDGES), "given twice: ['x']"),
        (lambda: viz.computation_graph([("a", "a", "leaf")], []), "kind 'leaf'"),
        (lambda: viz.computation_graph([3], []), "must be a Node, dict or tuple, not int"),
        (lambda: viz.computation_graph(NODES, EDGES, walk="back"), "walk is 'back'"),
        (lambda: viz.computation_graph(NODES, EDGES, direction="up"), "direction is 'up'"),
        (lambda: viz.computation_graph(NODES, EDGES, order=["z"]), "not there: ['z']"),
        (lambda: viz.computation_graph(NODES, EDGES, walk="reverse", lit=9), "lit is 9"),
        (lambda: viz.computation_graph([], []), "no nodes"),
        (
            lambda: viz.graph_walk(NODES, EDGES, steps=[1, 7]),
            "steps [7]: the walk has steps 0 to 6",
        ),
        (lambda: viz.graph_walk(NODES, EDGES, steps=[1], titles=["a", "b"]), "2 titles for 1 step"),
        (lambda: viz.course_map(done=[99]), "no chapters [99]"),
        (lambda: viz.einsum_diagram("ij,jk->iq"), "no operand has the result's 'q'"),
        (lambda: viz.einsum_diagram("ij,jk->ii"), "the result has 'i' twice"),
        (lambda: viz.einsum_diagram("i1->i"), "'1' is no index letter"),
        (lambda: viz.einsum_diagram("ij,jk", [(2, 3), (4, 5)]), "'j' has sizes 3 and 4"),
        (lambda: viz.einsum_diagram("ij", [(2, 3, 4)]), "'ij' has 2 indices, its shape (2, 3, 4)"),
        (lambda: viz.einsum_diagram("ij,jk", [(2, 3)]), "1 shapes for 2 operands"),
        (lambda: viz.einsum_diagram("i,i", names=["a"]), "1 names for 2 operands"),
        (lambda: viz.sliced_products([("X", ("L", "D"), "tiles")], {}), "X: cut is 'tiles'"),
        (lambda: viz.sliced_products([("X", ("L", "D"))], {"L": 3}), "X: no size is given for 'D'"),
        (lambda: viz.sliced_products([{"name": "f"}], {}), "a border has a name, forward and"),
        (lambda: viz.sliced_products([], {}), "nothing to draw"),
        (lambda: viz.matrix_product("Y = X @ dY", SHAPES, SIZES), "X (B, D1) has D1 columns"),
        (lambda: viz.matrix_product("Y = X @ Z", SHAPES, SIZES), "no shape is given for 'Z'"),
        (lambda: viz.matrix_product("Y", SHAPES, SIZES), "must look like"),
        (lambda: viz.matrix_product("Y = X @ W", SHAPES, {"B": 2}), "no size is given for D1, D2"),
        (lambda: viz.matrix_product("dY = X @ X.T", SHAPES, SIZES), "the product is (B, B), dY"),
        (lambda: viz.matrix_product([], SHAPES, SIZES), "no products"),
        (lambda: viz.table([(1, 2)], ["a"]), "row 0 has 2 cells, there are 1 headers"),
        (lambda: viz.table([(1, 2)]), "headers are missing"),
        (lambda: viz.table([{"a": 1}, {"b": 1}]), "row 1 has the keys ['b'], expected ['a']"),
        (lambda: viz.table([(1,)], ["a"], highlight=[4]), "rows 0 to 0"),
        (lambda: viz.table([(1,)], ["a"], highlight=[(0, "z")]), "no column 'z'"),
        (lambda: viz.lines({"a": ([1, 2], [1, 2, 3])}), "x has shape (2,), y (3,)"),
        (lambda: viz.lines({"a": [1]}, log="z"), "log is 'z'"),
        (lambda: viz.lines({"a": [1]}, colors={"a": "no"}), "no colour 'no'"),
        (lambda: viz.lines({"a": [1]}, bands={"b": ([1], [2])}), "band 'b'"),
        (lambda: viz.loss_curve([1, 2], [1.0]), "x has shape (2,), y (1,)"),
        (lambda: viz.loss_curve([1], [1.0], smooth=0), "smooth is 0"),
        (
            lambda: viz.loss_surface(valley, (0, 1), (0, 1), {"a": [1, 2]}),
            "path 'a' has shape (2,)",
        ),
        (lambda: viz.loss_surface(lambda x, y: 3, (0, 1), (0, 1)), "must work point by point"),
        (lambda: viz.loss_surface(lambda x, y: x * np.nan, (0, 1), (0, 1)), "nowhere finite"),
        (lambda: viz.attention_maps(np.ones(3)), "(n, L, S), not (3,)"),
        (lambda: viz.attention_maps(np.ones((2, 3, 3)), titles=["a"]), "1 titles for 2 maps"),
        (lambda: viz.attention_maps(np.ones((2, 3, 3)), ["a"]), "1 row labels for 3 rows"),
        (lambda: viz.attention_maps(np.ones((2, 3, 3)), mask="future"), "mask is 'future'"),
        (
            lambda: viz.attention_maps(np.ones((2, 3, 3)), mask=np.ones((2, 2))),
            "mask has shape (2, 2)",
        ),
        (lambda: viz.heatmap([1, 2]), "not shape (2,)"),
        (lambda: viz.heatmap(np.ones((2, 2)), columns=["a"]), "1 column labels for 2 columns"),
        (lambda: viz.heatmap(np.ones((2, 2)), mask=np.ones((3, 2))), "mask has shape (3, 2)"),
        (lambda: viz.turning_pairs([1.0]), "(positions, pairs), not (1,)"),
        (lambda: viz.turning_pairs([[1, 2]], notes=["a"]), "1 notes for 2 pairs"),
        (lambda: viz.head_sharing({"a": (6, 4)}), "'a': 6 heads cannot share 4"),
        (lambda: viz.head_sharing({"a": (2, 1)}, notes={"b": "c"}), "notes for ['b']"),
        (lambda: viz.head_sharing({}), "no designs"),
        (lambda: viz.token_rows({}), "no rows"),
        (lambda: viz.token_rows({"a": ["b" * 99]}), "points wide"),
        (lambda: viz.passages([]), "no passages"),
        (lambda: viz.cache_blocks({}), "no designs"),
        (lambda: viz.cache_blocks({"a": [(0, {"k": 1})]}), "'a': every block needs a query"),
        (lambda: viz.cache_blocks({"a": [(1, {"k": 0})]}), "'a': a block has no size"),
        (lambda: viz.roofline({"a": [(0.0, 1.0, "x")]}, 1.0, 1.0), "a x: intensity is 0.0"),
        (lambda: viz.roofline({}, 1.0, math.nan), "bandwidth is nan"),
        (lambda: viz.bars({"a": math.inf}), "bar 'a': inf is no length"),
        (lambda: viz.bars({"a": 0}, log=True), "no place on a logarithmic scale"),
        (lambda: viz.bars({"a": 1}, highlight="b"), "no bar 'b'"),
        (lambda: viz.stacked_bars({"a": {"p": -1}}), "bar 'a', part 'p': -1.0 is no length"),
        (lambda: viz.stacked_bars({"a": {"p": 1}}, total=["q"]), "no part 'q' to count"),
        (lambda: viz.text_curve([]), "no numbers to draw"),
        (lambda: viz.text_curve([math.nan]), "no finite number to draw"),
        (lambda: viz.text_curve([1], 10, 2), "24 by 4 characters, not 10 by 2"),
        (lambda: viz.text_bars([0.5], ["a", "b"]), "2 labels for 1 numbers"),
        (lambda: viz.text_bars([-0.5]), "cannot be -0.5 long"),
        (lambda: viz.save(None, "a.gif"), "must end in .png, .svg, .pdf"),
        (lambda: overview.overview({"losses": []}), "the measurements lack parameters, held_out"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        call()


def test_the_name_of_a_level_keeps_clear_of_curves():
    x = np.linspace(0, 1, 50)
    busy = {"high": (x, 1.03 + 0 * x), "low": (x, np.minimum(3 * x, 0.97))}
    picture = viz.lines(busy, levels={"a level": 1.0})
    (name,) = [text for text in picture.axes[0].texts if text.get_text() == "a level"]
    assert (name.get_ha(), name.get_va()) == ("left", "top")
    picture = viz.lines({"far": (x, 5 + x), "near": (x, 0 * x)}, levels={"a level": 1.0})
    (name,) = [text for text in picture.axes[0].texts if text.get_text() == "a level"]
    assert (name.get_ha(), name.get_va()) == ("right", "bottom")


def test_names_at_the_ends_of_curves_stand_in_one_line():
    x = np.arange(3.0)
    picture = viz.lines({"a": x, "b": x + 0.001, "c": x - 0.001, "d": 0 * x})
    assert len({round(text.get_position()[0], 6) for text in picture.axes[0].texts}) == 1


def test_a_shape_in_a_graph_stands_for_itself():
    nodes = [("x", "x", "input", "(B, L)"), ("y", "y", "output", 3.0)]
    texts = {text.get_text() for text in viz.computation_graph(nodes, ["xy"]).axes[0].texts}
    assert {"(B, L)", "= 3"} <= texts
