"""Colours with fixed meanings: the same thing has the same colour in all notebooks.

The eight are from Okabe and Ito, "Color Universal Design" (2008), told apart by every kind of
colour vision.
"""

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
INK, GREY, FAINT, PAPER = "#262626", "#8A8A8A", "#E4E4E4", "#FFFFFF"

COLORS = {
    # what flows through a graph
    "value": BLUE,
    "forward": BLUE,
    "gradient": VERMILLION,
    "backward": VERMILLION,
    "tangent": GREEN,
    # what it flows through
    "data": SKY,
    "input": SKY,
    "parameter": PURPLE,
    "op": GREY,
    "output": INK,
    "loss": INK,
    # what fills a memory
    "weights": PURPLE,
    "parameters": PURPLE,
    "gradients": VERMILLION,
    "optimizer": SKY,
    "activations": BLUE,
    # what answers a prompt
    "prefill": BLUE,
    "decode": ORANGE,
    "cache": GREEN,
    # what ranks do
    "compute": BLUE,
    "communicate": GREEN,
    "communication": GREEN,
    "message": SKY,
    "weight gradient": PURPLE,
    # what the eye is led to, and away from
    "highlight": ORANGE,
    "muted": GREY,
    "faint": FAINT,
    "text": INK,
    # training
    "training": BLUE,
    "train": BLUE,
    "validation": ORANGE,
    "test": PURPLE,
    # optimizers
    "gradient descent": INK,
    "full batch": INK,
    "sgd": ORANGE,
    "mini-batch": SKY,
    "momentum": SKY,
    "sgd with momentum": SKY,
    "nesterov": PURPLE,
    "adam": BLUE,
    "adamw": GREEN,
    "rmsprop": GREY,
    "newton": VERMILLION,
}
"""What each colour means, in all notebooks: name of a role -> colour."""

CYCLE = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, INK, GREY)
"""Colours of things that have no role, in the order in which they are handed out."""


def require_matplotlib():
    """Imports matplotlib; raises ImportError that says how to install it where it is missing."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install -e ".[course]"') from error
    return matplotlib


def color(role):
    """The colour of a role in COLORS (case does not matter), or the colour itself if it is one.

    Raises ValueError for a name that is neither.
    """
    if role.lower() in COLORS:
        return COLORS[role.lower()]
    require_matplotlib()
    from matplotlib.colors import is_color_like, to_hex

    if not is_color_like(role):
        raise ValueError(f"no colour {role!r}: give a role ({', '.join(COLORS)}) or a colour")
    return to_hex(role)


def colors_for(names, chosen=None):
    """A colour for each of the names: the chosen one (name -> role or colour), else that of the
    role of this name, else the next one free."""
    names, chosen = list(names), {str(k): color(v) for k, v in (chosen or {}).items()}
    found = {name: COLORS[name.lower()] for name in names if name.lower() in COLORS} | chosen
    free = [shade for shade in CYCLE if shade not in found.values()] or list(CYCLE)
    rest = [name for name in names if name not in found]
    return found | {name: free[i % len(free)] for i, name in enumerate(rest)}


def tint(shade, amount):
    """The colour mixed with white: amount 0 is white, 1 the colour itself."""
    return _mix(color(shade), PAPER, amount)


def ink(shade):
    """The colour darkened until it reads on white as text (contrast 4.5, WCAG 2.1, 1.4.3)."""
    shade = color(shade)
    for step in range(20):
        darker = _mix(shade, BLACK, 1 - step / 20)
        if 1.05 / (_luminance(darker) + 0.05) >= 4.5:
            return darker
    return BLACK


def text_on(shade):
    """Black or white, whichever reads better on the colour."""
    return INK if _luminance(color(shade)) > 0.23 else PAPER


def colormap(name):
    """A colormap: "attention" and "value" from white to blue, "signed" from blue to vermillion."""
    require_matplotlib()
    from matplotlib.colors import LinearSegmentedColormap

    stops = {
        "attention": [PAPER, "#9CCBE8", BLUE, "#00304D"],
        "signed": ["#004D7A", BLUE, "#A9D0E8", PAPER, "#F3C3A0", VERMILLION, "#8A3D00"],
        "surface": ["#8FB8D0", "#C6DBE7", "#E6EFF4", "#F7FAFB"],
    }
    stops["value"] = stops["attention"]
    if name not in stops:
        raise ValueError(f"no colormap {name!r}: there are {', '.join(stops)}")
    return LinearSegmentedColormap.from_list(f"minigrad-{name}", stops[name])


def _channels(shade):
    return [int(shade[at : at + 2], 16) / 255 for at in (1, 3, 5)]


def _mix(shade, other, amount):
    """`amount` of a colour and the rest of the other, as "#rrggbb"."""
    pairs = zip(_channels(shade), _channels(other), strict=True)
    parts = [round(255 * (amount * a + (1 - amount) * b)) for a, b in pairs]
    return "#" + "".join(f"{part:02x}" for part in parts)


def _luminance(shade):
    """Relative luminance (WCAG 2.1), 0 for black to 1 for white."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _channels(shade)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
