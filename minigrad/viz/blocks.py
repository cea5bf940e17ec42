"""Matrix products as blocks: every matrix a rectangle to scale, its shape along its sides."""

from dataclasses import dataclass
from itertools import pairwise

from minigrad.viz import style
from minigrad.viz.pen import Pen

THINNEST, LONGEST = 34.0, (150.0, 130.0, 115.0, 98.0)  # sides of a matrix, in points
SIDE, SIGN = 27.0, 26.0  # room for the number of rows, and for "=" and "·"
WIDEST, TALLEST = 13 * 72.0, 8.3 * 72.0  # of the drawing, in points


@dataclass
class _Block:
    """A matrix: its name, its symbolic shape, its width and height in points."""

    name: str
    shape: tuple
    width: float = 0.0
    height: float = 0.0


@style.styled
def matrix_product(products, shapes, sizes, *, roles=None, columns=None, title=None, ax=None):
    """Draws products of matrices as rectangles side by side, each with its shape.

    The index that is summed, where two factors touch, stands out in the colour of the highlight.

    Arguments: products: equations as "dW = X.T @ dY", one or several, of any number of factors;
    shapes: name -> (rows, columns) as symbols, ("B", "D1"), of every factor; sizes: symbol ->
    number; roles: name -> role of style.COLORS (default: "gradient" for names that start with
    "d", "parameter" for W, "data" for X, else "value"); columns: products in a row (default: as
    many as fit); title: the finding; ax: axes to draw on.
    Sides are to scale; those that would be thinner than 34 points are drawn that wide.
    Returns the figure, or the axes that were given.
    Raises ValueError for equations that cannot be read, unknown names, shapes that do not fit.
    """
    products = [products] if isinstance(products, str) else list(products)
    if not products:
        raise ValueError("there are no products to draw")
    equations = [_equation(text, shapes) for text in products]
    columns, column = _arrangement(equations, sizes, columns)
    rows = [equations[i : i + columns] for i in range(0, len(equations), columns)]
    heights = [max(block.height for eq in row for block in eq) + 78 for row in rows]
    total, tall = columns * (column + 24) + 12, sum(heights) + 6
    owner, ax, scale = style.bare_canvas(ax, total, tall, title)
    top = tall
    for row, height in zip(rows, heights, strict=True):
        for place, equation in enumerate(row):
            pen = Pen(ax, scale, 18 + place * (column + 24), top - height)
            slots = _slots(equations[place::columns])
            _draw_equation(pen, equation, slots, column, height, roles or {})
        top -= height
    return owner


def _equation(text, shapes):
    """The blocks of an equation, the result first; its shape follows from the factors'."""
    left, equals, right = (part.strip() for part in text.partition("="))
    names = [name.strip() for name in right.split("@")]
    if not (equals and left and all(names)):
        raise ValueError(f'cannot read {text!r}: it must look like "dW = X.T @ dY"')
    factors = []
    for name in names:
        base = name.removesuffix(".T")
        if base not in shapes:
            raise ValueError(f"{text!r}: no shape is given for {base!r}")
        shape = tuple(shapes[base])
        if len(shape) != 2:
            raise ValueError(f"{text!r}: {base!r} has shape {shape}, a matrix has two axes")
        factors.append(_Block(name, shape if base == name else shape[::-1]))
    for first, second in pairwise(factors):
        if first.shape[1] != second.shape[0]:
            raise ValueError(
                f"{text!r}: {first.name} {_spelled(first)} has {first.shape[1]} columns, "
                f"{second.name} {_spelled(second)} has {second.shape[0]} rows"
            )
    result = _Block(left, (factors[0].shape[0], factors[-1].shape[1]))
    if left in shapes and tuple(shapes[left]) != result.shape:
        given = "({}, {})".format(*shapes[left])
        raise ValueError(f"{text!r}: the product is {_spelled(result)}, {left} is given as {given}")
    return [result, *factors]


def _arrangement(equations, sizes, columns):
    """Sets the sides of the blocks; returns how many columns, and the width of one in points.

    As many equations as fit stand in full rows side by side; the blocks are as large as fits.
    """
    symbols = {symbol for equation in equations for block in equation for symbol in block.shape}
    missing = sorted(map(str, symbols - set(sizes)))
    if missing:
        raise ValueError(f"no size is given for {', '.join(missing)}")
    count = len(equations)
    full = [n for n in range(count, 0, -1) if count % n == 0]
    for tried in [columns] if columns else full:
        for longest in LONGEST:
            unit = longest / max(sizes[symbol] for symbol in symbols)
            for block in (block for equation in equations for block in equation):
                block.height, block.width = (max(THINNEST, unit * sizes[s]) for s in block.shape)
            stacks = [equations[place::tried] for place in range(tried)]
            column = max(_width(_slots(stack), stack) for stack in stacks)
            highest = max(block.height for equation in equations for block in equation)
            tall = -(-count // tried) * (highest + 78)
            if tried * (column + 24) <= WIDEST and tall <= TALLEST:
                return tried, column
    return tried, column
    return tried, column


def _slots(stack):
    """The width of each place in equations under each other, so that their signs align."""
    if len({len(equation) for equation in stack}) > 1:
        return None
    return [max(block.width for block in place) for place in zip(*stack, strict=True)]


def _width(slots, stack):
    """The width of equations under each other, in points."""
    rows = [slots] if slots else [[block.width for block in equation] for equation in stack]
    drawn = max(sum(row) + SIDE * len(row) + SIGN * (len(row) - 1) for row in rows)
    return max(drawn, *(0.602 * style.SMALL * len(_shapes_line(equation)) for equation in stack))


def _spelled(block):
    return f"({block.shape[0]}, {block.shape[1]})"


def _shapes_line(equation):
    return f"{_spelled(equation[0])} = " + " · ".join(map(_spelled, equation[1:]))


def _draw_equation(pen, equation, slots, column, height, roles):
    slots = slots or [block.width for block in equation]
    pen.text(column / 2, 16, _shapes_line(equation), style.SMALL, family="DejaVu Sans Mono")
    x = (column - sum(slots) - SIDE * len(slots) - SIGN * (len(slots) - 1)) / 2
    middle = 34 + (height - 78) / 2
    last = len(equation) - 1
    for place, (block, slot) in enumerate(zip(equation, slots, strict=True)):
        x += SIDE
        summed = place > 1, 0 < place < last  # its rows, its columns
        left = x + (slot - block.width) / 2
        _draw_block(pen, block, left, middle - block.height / 2, summed, roles)
        x += slot
        if place < last:
            sign = "=" if place == 0 else "·"
            pen.text(x + SIGN / 2, middle, sign, 22 if sign == "=" else 30, fontweight="bold")
            x += SIGN


def _draw_block(pen, block, x, y, summed, roles):
    fill, edge = style.tint(_role(block.name, roles), 0.4), style.color(_role(block.name, roles))
    pen.box(x, y, block.width, block.height, radius=3, fill=fill, edge=edge, line=2.4)
    name = block.name.replace(".T", "ᵀ")
    pen.text(x + block.width / 2, y + block.height / 2, name, 17, fontweight="bold")
    row_look, column_look = (
        {
            "color": style.ink("highlight") if s else style.INK,
            "fontweight": "bold" if s else "normal",
        }
        for s in summed
    )
    pen.text(x - 6, y + block.height / 2, str(block.shape[0]), ha="right", **row_look)
    top = y + block.height
    pen.text(x + block.width / 2, top + 13, str(block.shape[1]), **column_look)
    shade = style.color("highlight")
    if summed[0]:
        pen.line([(x, y), (x, top)], color=shade, width=5.0, zorder=4, solid_capstyle="butt")
    if summed[1]:
        ends = [(x, top), (x + block.width, top)]
        pen.line(ends, color=shade, width=5.0, zorder=4, solid_capstyle="butt")


def _role(name, roles):
    base = name.removesuffix(".T")
    if base in roles:
        return roles[base]
    if base.startswith("d") and len(base) > 1:
        return "gradient"
    return {"W": "parameter", "X": "data"}.get(base[:1], "value")
