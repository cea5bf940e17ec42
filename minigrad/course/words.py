"""Plain values in words, for messages: small arrays whole, large ones by shape and dtype."""

import functools
import re

import numpy as np

SMALL, MANY, LONG = 24, 200, 300
#: elements of an array that is shown where numbers do not matter
FEW = 4
#: the longest that a deep array is on one line
SHORT = 40
NESTS = (list, tuple, dict)
USUAL = ("float64", "int64", "bool")
LINE = 76
#: how long parts are that share a line
BRIEF = 12
#: how wide a row of an array is with its columns below one another
WIDE = 60
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
        number = str(thing) if isinstance(thing, np.floating) else repr(thing.item())
        return f"{number} ({thing.dtype})"
    if type(thing) in NESTS and _size(thing, MANY) > MANY:
        return kind(thing)
    if type(thing) in (list, tuple) and thing and len(thing) <= SMALL:
        brackets = "[]" if type(thing) is list else "()"
        return nested([value(item, array) for item in thing], brackets, type(thing) is tuple)
    if type(thing) is dict and len(thing) <= SMALL:
        parts = [beside(f"{value(key)}: ", item, array) for key, item in thing.items()]
        return nested(parts, "{}")
    if type(thing).__name__ == "PerRank":
        parts = [value(item, array) for item in thing.values]
        if parts[0].startswith("<array") and len(parts) == parts.count(parts[0]) > 1:
            return f"per_rank([{parts[0]}] * {len(parts)})"
        return "per_rank" + nested(parts, ("([", "])"))
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
    """Parts in brackets: on one line if that is short, else one a line, or as many short ones as
    have room."""
    comma = "," if is_tuple and len(parts) == 1 else ""
    line = f"{brackets[0]}{', '.join(parts)}{comma}{brackets[1]}"
    if len(line) <= LINE and "\n" not in line:
        return line
    if max(map(len, parts)) <= BRIEF:
        parts = _filled(parts)
    return "\n".join([brackets[0], *(indented(f"{part},") for part in parts), brackets[1]])


def _filled(parts):
    """Parts, as many on a line as have room."""
    lines = [parts[0]]
    for part in parts[1:]:
        longer = f"{lines[-1]}, {part}"
        lines[-1:] = [longer] if len(longer) < LINE - 2 * INDENT else [lines[-1], part]
    return lines


def array_in_words(thing):
    """An array: its elements, shape and dtype if it is small, else shape and dtype."""
    kind = f"array of shape {thing.shape}, {thing.dtype}"
    if thing.size > SMALL:
        return kind
    text = _elements(thing)
    return f"{text} ({kind})" if "\n" not in text else f"{kind}\n{indented(text)}"


def array_in_code(thing, crowded=False, most=SMALL):
    """An array as an argument in a call; the dtype is left out where one would expect it.

    In a ``crowded`` call, with an array too large to be shown, only short ones are shown whole.
    ``most``: as for `call`.
    """
    text = _elements(thing) if thing.size <= most else ""
    if not text or (crowded and "\n" in text):
        return f"<array of shape {thing.shape}, {thing.dtype}>"
    return text if thing.dtype.name in USUAL else f"{hung(f'{thing.dtype}(', text)})"


def _elements(thing):
    """The elements row by row, without empty lines; a short deep array on one line."""
    text = np.array2string(thing, precision=5, separator=", ", max_line_width=LINE - 2 * INDENT)
    if thing.dtype.kind == "f" and max(map(len, text.split("\n"))) > WIDE:
        short = {"float_kind": lambda number: f"{number:.5g}"}
        options = {"separator": ", ", "max_line_width": LINE - 2 * INDENT, "formatter": short}
        text = np.array2string(thing, **options)
    text = re.sub(r"\n\n+", "\n", text)
    line = re.sub(r"(?<=\[) | (?=[\],])", "", re.sub(r"\s+", " ", text))
    return line if thing.ndim > 2 and len(line) <= SHORT else text


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


def call(function, arguments, keywords, names=(), most=SMALL):
    """A call as one would type it, small arrays whole.

    Args:
        function: its name.
        arguments, keywords: what it was called with.
        names: of the parameters, as far as they are known; they are shown where several arguments
            are arrays, or hold some.
        most: elements of an array that is shown whole.
    """
    given = [*arguments, *keywords.values()]
    several = sum(bool(_arrays(thing)) for thing in given) > 1
    if not several or len(names) < len(arguments):
        names = [""] * len(arguments)
    prefixes = [name and f"{name}=" for name in (*names[: len(arguments)], *keywords)]
    crowded = any(array.size > most for thing in given for array in _arrays(thing))
    parts = [argument(thing, crowded, prefix, most) for prefix, thing in zip(prefixes, given)]
    return function + nested(parts, "()")


def argument(thing, crowded=False, prefix="", most=SMALL):
    """An argument of a call behind its name; of a dict of many numbers the keys alone."""
    if type(thing) is dict and sum(array.size for array in _arrays(thing)) > SMALL:
        return f"{prefix}<dict of {', '.join(map(str, thing))}>"
    array = functools.partial(array_in_code, crowded=crowded, most=most)
    return beside(prefix, thing, array)


def _arrays(thing):
    """The arrays in an argument: itself, or elements of a list, tuple or dict."""
    if type(thing).__name__ == "PerRank":
        thing = thing.values
    inside = thing.values() if type(thing) is dict else thing
    items = inside if type(thing) in NESTS else [thing]
    return [item for item in items if type(item) is np.ndarray]


def beside(prefix, thing, array=None):
    """A value behind a prefix; the rows of an array stay below one another."""
    text = value(thing, array)
    return hung(prefix, text) if array and type(thing) is np.ndarray else prefix + text


def hung(prefix, text):
    """A text behind a prefix, its other lines as far to the right as the first."""
    return prefix + text.replace("\n", "\n" + " " * len(prefix))


def indented(text, by=INDENT):
    """Every line of a text moved to the right."""
    return "\n".join(" " * by + line for line in text.split("\n"))
