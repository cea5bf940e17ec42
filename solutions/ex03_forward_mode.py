"""Exercise 03: numbers that carry their own slope.

Notebook: 03_forward_mode.ipynb.

You write the calculus of dual numbers (`rule`), give every derivative an ε of its own (`seen_from`,
`calculate`), and from these two build `derivative`, `jvp`, `jacobian` and `partial`, of any order.
At the end stands the notebook's puzzle, which only levels get right.

What is returned in the end is never a Dual. If one comes back, some level was not taken off.
"""

import itertools
import math

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

RULES = ("add", "multiply", "divide", "sin", "cos", "exp")


def rule(name, *pairs):
    """One operation on dual numbers: the value of the result, and its tangent.

    Arguments:
        name: one of "add", "multiply", "divide" (two pairs), "sin", "cos", "exp" (one pair).
        pairs: each a tuple (value, tangent). Value and tangent are numbers or arrays of one shape;
            two pairs may have different shapes that broadcast, as in NumPy.

    Returns: the tuple (value, tangent) of the result.

    Calculate with operators (``+ - * /``) and NumPy's ``np.sin``, ``np.cos``, ``np.exp`` only. Then
    the rules need not know what they calculate with, and later it may be dual numbers again.

    Example: (5 + ε) · (5 + ε) = 25 + 10 ε.

        rule("multiply", (5.0, 1.0), (5.0, 1.0))        is (25.0, 10.0)
    """
    ### BEGIN SOLUTION
    match name, *pairs:
        case "add", (x, x_dot), (y, y_dot):
            return x + y, x_dot + y_dot
        case "multiply", (x, x_dot), (y, y_dot):
            return x * y, x_dot * y + x * y_dot
        case "divide", (x, x_dot), (y, y_dot):
            return x / y, (x_dot - x / y * y_dot) / y
        case "sin", (x, x_dot):
            return np.sin(x), np.cos(x) * x_dot
        case "cos", (x, x_dot):
            return np.cos(x), -np.sin(x) * x_dot
        case "exp", (x, x_dot):
            return np.exp(x), np.exp(x) * x_dot
    ### END SOLUTION


class Dual(NDArrayOperatorsMixin):
    """``value + tangent · ε_level``, a number that moves. (Given: nothing to write here.)

    Every operator and every NumPy function that meets a Dual calls `__array_ufunc__`: for ``x * y``
    the ufunc is np.multiply, for ``np.sin(x)`` it is np.sin. From there it goes to `calculate`, by
    name. So a program written for numbers runs on Duals, unchanged.
    """

    def __init__(self, value, tangent, level):
        self.value, self.tangent, self.level = value, tangent, level

    def __repr__(self):
        return f"({self.value} + {self.tangent} ε{self.level})"

    def __array_ufunc__(self, ufunc, method, *numbers, **options):
        match ufunc.__name__, *numbers:
            case "negative", x:
                return -1.0 * x
            case "subtract", x, y:
                return x + -1.0 * y
            case "power", x, int(n) if n > 0:
                return math.prod([x] * n)
            case "square", x:
                return x * x
            case name, *_ if name in RULES and method == "__call__" and not options:
                return calculate(name, *numbers)
        raise TypeError(f"there is no rule for np.{ufunc.__name__}; there are {', '.join(RULES)}")


levels = itertools.count(1)  # next(levels) is a level that was never used before


def seen_from(level, x):
    """How x moves in the eyes of one level: the pair (value, tangent).

    Arguments:
        level: an int.
        x: a number, an array, or a Dual of this or a lower level.

    Returns: a Dual of this very level is taken apart into its value and its tangent. Anything else,
    a Dual of a lower level too, is a constant to this level: x itself is the value, and the tangent
    is zero in the shape of x. (``0.0 * x`` is that, for numbers, arrays and Duals.)

    Not graded by itself: `derivative` and all that follow need it.
    """
    ### BEGIN SOLUTION
    if isinstance(x, Dual) and x.level == level:
        return x.value, x.tangent
    return x, 0.0 * x
    ### END SOLUTION


def calculate(name, *numbers):
    """Apply a rule to numbers of any level, at least one of which is a Dual.

    Arguments:
        name: of the rule, as in `rule`.
        numbers: its operands, each a number, an array or a Dual of any level.

    Returns: a Dual. Its level is the highest level among the operands; its value and tangent are
    what `rule` makes of the operands as seen from that level.

    Not graded by itself: `derivative` and all that follow need it. Example, as in the notebook:
    ``Dual(1.0, 1.0, level=1) + Dual(1.0, 1.0, level=2)`` is (2 + 1 ε1) + 1 ε2, a Dual of level 2
    whose value is a Dual of level 1.
    """
    ### BEGIN SOLUTION
    level = max(x.level for x in numbers if isinstance(x, Dual))
    value, tangent = rule(name, *(seen_from(level, x) for x in numbers))
    return Dual(value, tangent, level)
    ### END SOLUTION


def derivative(f, x):
    """The derivative f′(x).

    Arguments:
        f: a function of one argument, written with ``+ - * /``, np.sin, np.cos and np.exp. It works
            on each element of an array by itself.
        x: a number or an array. (Inside another derivative, x may be a Dual.)

    Returns: the slope at each element, a number or an array of the shape of f(x) (that is the shape
    of x, unless f returns a constant number). Zero where f does not depend on x.

        derivative(lambda x: x * x + 3 * x, 5.0)        is 13.0
    """
    ### BEGIN SOLUTION
    level = next(levels)
    x = Dual(x, 1.0 + 0.0 * x, level)  # every element moves at speed 1
    return seen_from(level, f(x))[1]
    ### END SOLUTION


def jvp(f, xs, us):
    """Values and Jacobian-vector product J u of a function of several inputs; f runs only once.

    Arguments:
        f: a function of n arguments that returns a tuple of m outputs.
        xs: the point, a tuple of n numbers or arrays.
        us: the direction, a tuple of n numbers or arrays: input i has the tangent us[i], of the
            shape of xs[i].

    Returns: the tuple (values, tangents) of two tuples of m numbers or arrays: what f returns, and
    the speed at which each output moves when the inputs move along us.

        jvp(lambda x, y: (x * y, x + y), (2.0, 5.0), (1.0, 0.0))
                                                        is ((10.0, 7.0), (5.0, 1.0))
    """
    ### BEGIN SOLUTION
    level = next(levels)
    outputs = f(*(Dual(x, u, level) for x, u in zip(xs, us)))
    values, tangents = zip(*(seen_from(level, y) for y in outputs))
    return values, tangents
    ### END SOLUTION


def jacobian(f, xs):
    """The whole Jacobian, one pass per input.

    Arguments:
        f: a function of n numbers that returns a tuple of m numbers.
        xs: the point, a tuple of n floats.

    Returns: an array J of shape (m, n): J[i, j] is the derivative of output i by input j.
    """
    ### BEGIN SOLUTION
    columns = [jvp(f, xs, u)[1] for u in np.eye(len(xs))]  # n times (m,)
    return np.stack(columns, axis=1)  # (m, n)
    ### END SOLUTION


def partial(f, which, xs):
    """A partial derivative of any order, by derivatives of derivatives.

    Arguments:
        f: a function of n numbers that returns one number.
        which: a tuple of indices of inputs, one for each derivative. For f(x, y), (0,) stands for
            ∂f/∂x, (0, 0) for ∂²f/∂x², (0, 1) for ∂²f/∂x∂y, and () for f itself.
        xs: the point, a tuple of n floats.

    Returns: a float.

        partial(lambda x, y: x * x * y, (0, 1), (3.0, 5.0))         is 6.0, ∂²/∂x∂y
    """
    ### BEGIN SOLUTION
    if not which:
        return f(*xs)
    i, *rest = which
    along_i = lambda x: partial(f, rest, (*xs[:i], x, *xs[i + 1 :]))
    return derivative(along_i, xs[i])
    ### END SOLUTION


def puzzle(nested, x):
    """The derivative of a function that takes derivatives itself.

    Arguments:
        nested: a function of two arguments, d and x. Wherever it needs the derivative of some f at
            some y, it calls d(f, y): hand it your own `derivative` for d.
        x: a float.

    Returns: a float, d/dx of nested(d, x).

    The puzzle of the notebook, d/dx [x · d/dy (x + y)]:

        puzzle(lambda d, x: x * d(lambda y: x + y, 1.0), 1.0)       is 1.0
    """
    ### BEGIN SOLUTION
    return derivative(lambda x: nested(derivative, x), x)
    ### END SOLUTION
