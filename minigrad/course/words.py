"""Plain values in words, for messages: small arrays whole, large ones by shape and dtype."""

import numpy as np

SMALL = 24
USUAL = ("float64", "int64", "bool")
LINE = 88
INDENT = 4


def value(thing, array=None):
    """A plain value as a reader wants to see it: whole if small.

    Args:
        thing: the value.
        array: how an array in it is written; None for `array_in_words`.
    """
    if type(thing) is np.ndarray:
        return (array or array_in_words)(thing)
    if isinstance(thing, np.generic):
        return f"{thing.item()!r} ({thing.dtype})"
    if type(thing) in (list, tuple) and thing and len(thing) <= SMALL:
        brackets = "[]" if type(thing) is list else "()"
        return nested([value(item, array) for item in thing], brackets, type(thing) is tuple)
    if type(thing) is dict and len(thing) <= SMALL:
        return nested([f"{key!r}: {value(item, array)}" for key, item in thing.items()], "{}")
    if type(thing).__name__ == "Given":
        return thing.name + nested([value(item, array) for item in thing.arguments], "()")
    text = repr(thing)
    return text if len(text) <= 300 else f"{text[:300]} …"


def nested(parts, brackets, is_tuple=False):
    """Parts in brackets: on one line if that is short, else one a line."""
    comma = "," if is_tuple and len(parts) == 1 else ""
    line = f"{brackets[0]}{', '.join(parts)}{comma}{brackets[1]}"
    if len(line) <= LINE and "\n" not in line:
        return line
    return "\n".join([brackets[0], *(indented(f"{part},") for part in parts), brackets[1]])


def array_in_words(thing):
    """An array: its elements, shape and dtype if it is small, else shape and dtype."""
    kind = f"array of shape {thing.shape}, {thing.dtype}"
    if thing.size > SMALL:
        return kind
    text = _elements(thing)
    return f"{text} ({kind})" if "\n" not in text else f"{kind}\n{indented(text)}"


def array_in_code(thing):
    """An array as an argument in a call; the dtype is left out where one would expect it."""
    if thing.size > SMALL:
        return f"<array of shape {thing.shape}, {thing.dtype}>"
    text = _elements(thing)
    return text if thing.dtype.name in USUAL else f"{thing.dtype}({text})"


def _elements(thing):
    return np.array2string(thing, precision=5, separator=", ", max_line_width=LINE - 2 * INDENT)


def kind(thing):
    """What sort of value it is, without its content."""
    if type(thing) is np.ndarray:
        return f"an array of shape {thing.shape} and dtype {thing.dtype}"
    if type(thing) in (list, tuple, dict):
        return f"a {type(thing).__name__} of {len(thing)}"
    if thing is None:
        return "None"
    if isinstance(thing, np.generic):
        return f"{thing.item()!r}, of type {thing.dtype}"
    return f"{value(thing)}, of type {type(thing).__name__}"


def call(function, arguments, keywords):
    """A call as one would type it, small arrays whole."""
    parts = [value(thing, array_in_code) for thing in arguments]
    parts += [f"{name}={value(thing, array_in_code)}" for name, thing in keywords.items()]
    return function + nested(parts, "()")


def indented(text, by=INDENT):
    """Every line of a text moved to the right."""
    return "\n".join(" " * by + line for line in text.split("\n"))
