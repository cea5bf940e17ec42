"""The whole course as a map: its parts as lanes, its chapters as stations."""

from minigrad.viz import style
from minigrad.viz.pen import Pen, draw_key, key_rows

COURSE = (
    (0, "Start here", "I  Tensors and derivatives"),
    (1, "Tensors and einsum", "I  Tensors and derivatives"),
    (2, "Gradient descent", "I  Tensors and derivatives"),
    (3, "Forward mode", "I  Tensors and derivatives"),
    (4, "Reverse mode", "I  Tensors and derivatives"),
    (5, "Linear layer gradients", "I  Tensors and derivatives"),
    (6, "Beyond first order", "I  Tensors and derivatives"),
    (7, "GPU anatomy", "II  The GPU"),
    (8, "Roofline", "II  The GPU"),
    (9, "Tiled matmul", "II  The GPU"),
    (10, "FlashAttention", "II  The GPU"),
    (11, "Autoregressive models", "III  Language models"),
    (12, "Transformer block", "III  Language models"),
    (13, "Training a GPT", "III  Language models"),
    (14, "Scaling laws", "III  Language models"),
    (15, "Decoding", "IV  Inference"),
    (16, "KV cache", "IV  Inference"),
    (17, "Smaller caches", "IV  Inference"),
    (18, "Metrics", "IV  Inference"),
    (19, "Batching", "IV  Inference"),
    (20, "Speculative decoding", "IV  Inference"),
    (21, "Quantization", "IV  Inference"),
    (22, "Collectives", "V  Many devices"),
    (23, "Data parallelism", "V  Many devices"),
    (24, "ZeRO", "V  Many devices"),
    (25, "Pipeline parallelism", "V  Many devices"),
    (26, "Tensor parallelism", "V  Many devices"),
    (27, "Sequence parallelism", "V  Many devices"),
    (28, "Expert parallelism", "V  Many devices"),
    (29, "Long sequences", "V  Many devices"),
    (38, "Choosing a layout", "V  Many devices"),
    (30, "LoRA", "VI  Adapting and judging"),
    (31, "RLHF", "VI  Adapting and judging"),
    (32, "Evaluation", "VI  Adapting and judging"),
    (33, "Inference-time scaling", "VI  Adapting and judging"),
    (34, "Retrieval", "VI  Adapting and judging"),
    (35, "Agents", "VI  Adapting and judging"),
    (36, "Diffusion models", "VI  Adapting and judging"),
    (37, "Multimodal models", "VI  Adapting and judging"),
)
"""The chapters: (number of the notebook, short title, part)."""

LANE, GAP = 140.0, 9.0  # width of a lane, space between two stations, in points


@style.styled
def course_map(chapters=COURSE, *, done=(), here=None, title=None, ax=None):
    """Draws the course: a lane a part, a station a chapter; done, here or still to come.

    Arguments: chapters: (number, title, part), in order; done: numbers of those behind the
    reader; here: the number of the one that is open; title: the finding; ax: axes to draw on.
    Returns the figure, or the axes that were given.
    Raises ValueError where done or here name no chapter.
    """
    numbers = [number for number, _, _ in chapters]
    marked = [*done] if here is None else [*done, here]
    strange = [number for number in marked if number not in numbers]
    if strange:
        raise ValueError(f"there are no chapters {strange} on the map")
    lanes = {}
    for number, name, part in chapters:
        lanes.setdefault(part, []).append((number, style.wrap(name, LANE - 42, style.SMALL)))
    lines = [name.count("\n") + 1 for stations in lanes.values() for _, name in stations]
    box = max(40.0, 15 * max(lines, default=1) + 8)
    heads = [style.wrap(part, LANE - 8, style.BODY, "bold") for part in lanes]
    head = max((style.text_size(text, style.BODY)[1] for text in heads), default=0.0) + 14
    wide = len(lanes) * (LANE + 12) + 12
    signs = {"done": bool(done), "you are here": here is not None, "to come": bool(marked)}
    entries = [(text, *_look(text)[:2]) for text, shown in signs.items() if shown]
    key = key_rows(entries, wide - 24)
    foot = 22 * len(key) + 10
    tall = head + max(map(len, lanes.values()), default=0) * (box + GAP) + foot
    owner, ax, scale = style.bare_canvas(ax, wide, tall, title)
    pen = Pen(ax, scale)
    for column, (text, stations) in enumerate(zip(heads, lanes.values(), strict=True)):
        lane = pen.moved(12 + column * (LANE + 12), tall)
        for row, line in enumerate(text.split("\n")):
            lane.text(2, -14 - 18 * row, line, ha="left", fontweight="bold")
        _lane(lane.moved(0, -head), stations, box, set(done), here)
    draw_key(pen.moved(14, 0), key, foot - 8)
    return owner


def _look(state):
    """(fill, edge, text) of a station."""
    if state == "done":
        return style.tint("value", 0.85), style.color("value"), style.PAPER
    if state == "you are here":
        return style.color("highlight"), style.INK, style.INK
    return style.PAPER, "#B0B0B0", style.INK


def _lane(pen, stations, box, done, here):
    pitch = box + GAP
    pen.line([(20, -box / 2), (20, box / 2 - pitch * len(stations))], color="#B0B0B0", width=4.0)
    for row, (number, name) in enumerate(stations):
        state = "you are here" if number == here else "done" if number in done else "to come"
        fill, edge, text = _look(state)
        bottom = -row * pitch - box
        line = 2.6 if number == here else 1.6
        pen.box(0, bottom, LANE, box, fill=fill, edge=edge, line=line, radius=8)
        middle = bottom + box / 2
        pen.text(20, middle, f"{number:02d}", style.BODY, color=text, fontweight="bold")
        pen.text(38, middle, name, style.SMALL, ha="left", color=text)
