"""Plain values in words, for messages: small arrays whole, large ones by shape and dtype."""

import numpy as np

SMALL, MANY, LONG = 24, 200, 300
NESTS = (list, tuple, dict)
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
    if type(thing) in NESTS and _size(thing, MANY) > MANY:
        return kind(thing)
    if type(thing) in (list, tuple) and thing and len(thing) <= SMALL:
        brackets = "[]" if type(thing) is list else "()"
        return nested([value(item, array) for item in thing], brackets, type(thing) is tuple)
    if type(thing) is dict and len(thing) <= SMALL:
        parts = [f"{value(key)}: {value(item, array)}" for key, item in thing.items()]
        return nested(parts, "{}")
    if type(thing).__name__ == "Given":
        return thing.name + nested([value(item, array) for item in thing.arguments], "()")
    if type(thing) is int and thing.bit_length() > 4 * LONG:
        return f"a number of {thing.bit_length():,} bits"
    text = repr(thing[: 2 * LONG] if type(thing) is str else thing)
    return text if len(text) <= LONG else f"{text[:LONG]} …"


def _size(thing, most):
    """How many things are in a nest of lists, counted no further than a little over ``most``."""
    if type(thing) not in NESTS:
        return 1
    count = 1
    for item in thing.values() if type(thing) is dict else thing:
        if count > most:
            break
        count += _size(item, most - count)
    return count


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
    parts = [argument(thing) for thing in arguments]
    parts += [f"{name}={argument(thing)}" for name, thing in keywords.items()]
    return function + nested(parts, "()")


def argument(thing):
    """An argument of a call; of a dict of many numbers the keys alone."""
    if type(thing) is dict:
        numbers = sum(item.size for item in thing.values() if type(item) is np.ndarray)
        if numbers > SMALL:
            return f"<dict of {', '.join(map(str, thing))}>"
    return value(thing, array_in_code)


def indented(text, by=INDENT):
    """Every line of a text moved to the right."""
    return "\n".join(" " * by + line for line in text.split("\n"))
