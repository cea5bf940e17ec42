"""One table of all ops: how each is called, on what inputs, and two independent references.

An entry states the op as a user writes it (`call`), how to draw arguments away from kinks (`fill`),
a formulation in plain NumPy or `math` (`numpy`), the PyTorch equivalent (`torch`, given the module
first), a hypothesis strategy of shapes and parameters (`cases`) and a few cases that are always
tried (`examples`): 0-d, empty, size 1, broadcast, non-contiguous.
"""

import math
import operator
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg

LAYOUTS = ("contiguous", "transposed", "strided", "reversed")


@dataclass(frozen=True)
class Case:
    """One call: the arguments' shapes, the op's parameters, how values and memory are laid out."""

    shapes: tuple
    params: Mapping = field(default_factory=dict)
    layout: str = "contiguous"
    seed: int = 0


@dataclass(frozen=True)
class Op:
    """A row of the table; see the module's docstring.

    `gives` is "float", "bool" or "int"; `roundings` counts the successive roundings of the op in
    half precision; `differentiable` is False where the derivative is zero everywhere.
    """

    name: str
    call: Callable
    fill: Callable
    numpy: Callable | None
    torch: Callable | None
    cases: st.SearchStrategy
    examples: tuple
    gives: str = "float"
    roundings: int = 1
    differentiable: bool = True
    half: bool = True

    def arrays(self, case):
        """The arguments of `case` in float64 (and integers or bools where the op takes them)."""
        rng = np.random.default_rng([case.seed, zlib.crc32(self.name.encode())])
        return [laid_out(np.asarray(a), case.layout) for a in self.fill(rng, case)]


def laid_out(array, layout):
    """Equal values in other memory: Fortran order, every second element, or negative strides."""
    if array.ndim == 0 or layout == "contiguous":
        return array
    if layout == "transposed":
        return np.asfortranarray(array)
    if layout == "strided":
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    return array[::-1].copy()[::-1]


# Where values come from: each keeps at least 0.05 away from the op's kinks.


def real(rng, shape):
    return rng.standard_normal(shape)


def positive(rng, shape):
    return 0.6 + rng.gamma(2.0, 0.6, shape)


def nonzero(rng, shape):
    return np.where(rng.random(shape) < 0.5, -1.0, 1.0) * (0.7 + rng.gamma(1.5, 0.5, shape))


def about_one(rng, shape):
    """Of either sign, so that products of many neither vanish nor explode."""
    return np.where(rng.random(shape) < 0.5, -1.0, 1.0) * rng.uniform(0.7, 1.4, shape)


def unit(rng, shape):
    return rng.uniform(-0.85, 0.85, shape)


def above_one(rng, shape):
    return 1.4 + rng.gamma(2.0, 0.5, shape)


def above_minus_one(rng, shape):
    return rng.uniform(-0.5, 2.5, shape)


def distinct(rng, shape):
    """All different, at least 0.1 apart."""
    size = math.prod(shape)
    values = 0.2 * (rng.permutation(size) - size / 2) + rng.uniform(-0.05, 0.05, size)
    return values.reshape(shape)


def on_even_grid(rng, shape):
    return 0.4 * rng.integers(-4, 5, shape)


def on_odd_grid(rng, shape):
    return 0.4 * rng.integers(-4, 4, shape) + 0.2


def flags(rng, shape):
    return rng.random(shape) < 0.5


def each(*domains):
    """Fill every argument from its own domain."""

    def fill(rng, case):
        return [domain(rng, shape) for domain, shape in zip(domains, case.shapes, strict=True)]

    return fill


# Which shapes are drawn.

SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
FILLED_SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=4)
SEEDS = st.integers(0, 999)


def drawn(shapes, params=None):
    """Cases from a strategy of shape tuples and one of parameters."""
    params = st.just({}) if params is None else params
    return st.builds(Case, shapes, params, st.sampled_from(LAYOUTS), SEEDS)


def of_one(shapes=SHAPES):
    return drawn(shapes.map(lambda shape: (shape,)))


def broadcast(count):
    """Shapes that broadcast together, some empty, of up to three axes."""
    drawn_shapes = hnp.mutually_broadcastable_shapes(
        num_shapes=count, max_dims=3, min_side=0, max_side=4
    )
    return drawn(drawn_shapes.map(lambda found: tuple(found.input_shapes)))


UNARY_EXAMPLES = (
    Case(((),)),
    Case(((0, 3),)),
    Case(((1,),)),
    Case(((2, 3),), layout="transposed"),
    Case(((3, 1, 5),), layout="strided"),
)
BINARY_EXAMPLES = (
    Case(((), ())),
    Case(((2, 3), ())),
    Case(((3, 1), (1, 4)), layout="transposed"),
    Case(((0, 3), (1, 3))),
    Case(((4,), (2, 3, 4)), layout="reversed"),
    Case(((2, 3), (2, 3)), layout="strided"),
)

OPS = []


def pointwise(function):
    """A scalar function of Python numbers applied to every element, broadcasting its arguments."""

    def apply(*arrays, **params):
        arrays = np.broadcast_arrays(*arrays)
        flat = [
            function(*values, **params) for values in zip(*(a.ravel().tolist() for a in arrays))
        ]
        kind = type(flat[0]) if flat and not isinstance(flat[0], int) else float
        return np.array(flat, dtype=kind).reshape(arrays[0].shape)

    return apply


def torch_named(name):
    return lambda torch, *tensors, **params: getattr(torch, name)(*tensors, **params)


def named(name):
    """The op by that name; arrays among its parameters (masks) go to the tensors' device."""

    def call(*tensors, **params):
        for key, value in params.items():
            if isinstance(value, np.ndarray) and isinstance(tensors[0], mg.Tensor):
                params[key] = mg.backend.to_device(value, tensors[0].device)
        return getattr(mg, name)(*tensors, **params)

    return call


def unary(name, numpy, domain=real, *, torch=None, call=None, op=None, **rest):
    OPS.append(
        Op(
            name=name,
            call=call or named(op or name),
            fill=each(domain),
            numpy=numpy,
            torch=torch or torch_named(name),
            cases=of_one(),
            examples=UNARY_EXAMPLES,
            **rest,
        )
    )


def binary(name, numpy, domains=(real, real), *, torch=None, call=None, **rest):
    OPS.append(
        Op(
            name=name,
            call=call or named(name),
            fill=each(*domains),
            numpy=numpy,
            torch=torch or torch_named(name),
            cases=broadcast(len(domains)),
            examples=BINARY_EXAMPLES,
            **rest,
        )
    )


# Elementwise, one argument


def gelu_by_tanh(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


unary("negative", pointwise(operator.neg))
unary("abs", pointwise(abs), nonzero)
unary("exp", pointwise(math.exp))
unary("exp2", pointwise(lambda x: 2.0**x))
unary("expm1", pointwise(math.expm1))
unary("log", pointwise(math.log), positive)
unary("log2", pointwise(math.log2), positive)
unary("log1p", pointwise(math.log1p), above_minus_one)
unary("sqrt", pointwise(math.sqrt), positive)
unary("square", pointwise(lambda x: x * x))
unary("reciprocal", pointwise(lambda x: 1.0 / x), nonzero)
unary("sin", pointwise(math.sin))
unary("cos", pointwise(math.cos))
unary("tan", pointwise(math.tan), unit)
unary("arcsin", pointwise(math.asin), unit)
unary("arccos", pointwise(math.acos), unit)
unary("arctan", pointwise(math.atan))
unary("sinh", pointwise(math.sinh))
unary("cosh", pointwise(math.cosh))
unary("tanh", pointwise(math.tanh))
unary("arcsinh", pointwise(math.asinh))
unary("arccosh", pointwise(math.acosh), above_one)
unary("arctanh", pointwise(math.atanh), unit)
unary("erf", pointwise(math.erf), torch=lambda torch, x: torch.special.erf(x))
unary("sigmoid", pointwise(lambda x: 1 / (1 + math.exp(-x))), roundings=2)
unary(
    "softplus",
    pointwise(lambda x: math.log(1 + math.exp(x))),
    torch=lambda torch, x: torch.nn.functional.softplus(x),
    roundings=2,
)
unary("relu", pointwise(lambda x: x if x > 0 else 0.0), nonzero)
unary(
    "gelu",
    pointwise(lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2)))),
    torch=lambda torch, x: torch.nn.functional.gelu(x),
    roundings=4,
)
unary(
    "gelu-tanh",
    pointwise(gelu_by_tanh),
    call=lambda x: mg.gelu(x, approximate="tanh"),
    torch=lambda torch, x: torch.nn.functional.gelu(x, approximate="tanh"),
    roundings=4,
)
unary(
    "silu",
    pointwise(lambda x: x / (1 + math.exp(-x))),
    torch=lambda torch, x: torch.nn.functional.silu(x),
    roundings=2,
)
unary("sign", pointwise(lambda x: float((x > 0) - (x < 0))), nonzero, differentiable=False)
unary("floor", pointwise(lambda x: float(math.floor(x))), on_odd_grid, differentiable=False)
unary("ceil", pointwise(lambda x: float(math.ceil(x))), on_odd_grid, differentiable=False)
unary(
    "rint",
    pointwise(lambda x: float(round(x))),
    on_odd_grid,
    torch=lambda torch, x: torch.round(x),
    differentiable=False,
)
for _exponent in (0, 1, 2, 3, -1, -2, 0.5, 2.5):
    unary(
        f"power-{_exponent}",
        pointwise(lambda x, e=_exponent: math.pow(x, e)),
        positive if isinstance(_exponent, float) else nonzero,
        call=lambda x, e=_exponent: x**e,
        torch=lambda torch, x, e=_exponent: x**e,
    )
unary(
    "power-of-2.5",
    pointwise(lambda x: math.pow(2.5, x)),
    call=lambda x: 2.5**x,
    torch=lambda torch, x: 2.5**x,
)
unary(
    "clip",
    pointwise(lambda x: sorted((-0.6, x, 0.7))[1]),
    on_even_grid,
    call=lambda x: mg.clip(x, -0.6, 0.7),
    torch=lambda torch, x: torch.clip(x, -0.6, 0.7),
)
unary(
    "clip-below",
    pointwise(lambda x: x if x > -0.6 else -0.6),
    on_even_grid,
    call=lambda x: mg.clip(x, min=-0.6),
    torch=lambda torch, x: torch.clip(x, min=-0.6),
)


# Elementwise, two or three arguments

binary("add", pointwise(operator.add), call=lambda x, y: x + y)
binary("subtract", pointwise(operator.sub), call=lambda x, y: x - y)
binary("multiply", pointwise(operator.mul), call=lambda x, y: x * y)
binary("divide", pointwise(operator.truediv), (real, nonzero), call=lambda x, y: x / y)
binary(
    "power", pointwise(math.pow), (positive, real), call=lambda x, y: x**y, torch=torch_named("pow")
)
binary("maximum", pointwise(max), (on_even_grid, on_odd_grid))
binary("minimum", pointwise(min), (on_even_grid, on_odd_grid))
binary(
    "remainder",
    pointwise(operator.mod),
    (on_odd_grid, lambda rng, shape: np.where(rng.random(shape) < 0.5, -0.8, 1.2)),
    call=lambda x, y: x % y,
    roundings=4,
)
binary(
    "floor_divide",
    pointwise(operator.floordiv),
    (on_odd_grid, lambda rng, shape: np.where(rng.random(shape) < 0.5, -0.8, 1.2)),
    call=lambda x, y: x // y,
    differentiable=False,
)
binary("where", pointwise(lambda c, x, y: x if c else y), (flags, real, real))
OPS[-1] = Op(
    **{
        **OPS[-1].__dict__,
        "examples": (
            Case(((), (), ())),
            Case(((3, 1), (1, 4), ()), layout="transposed"),
            Case(((4,), (2, 3, 4), (3, 1)), layout="strided"),
            Case(((0, 3), (3,), (1, 1))),
        ),
    }
)
for _name, _function in {
    "equal": operator.eq,
    "not_equal": operator.ne,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
}.items():
    binary(
        _name,
        pointwise(_function),
        (on_even_grid, on_even_grid),
        call=lambda x, y, f=_function: f(x, y),
        torch=lambda torch, x, y, f=_function: f(x, y),
        gives="bool",
        differentiable=False,
    )
for _name, _function in {
    "logical_and": lambda x, y: bool(x) and bool(y),
    "logical_or": lambda x, y: bool(x) or bool(y),
}.items():
    binary(_name, pointwise(_function), (flags, flags), gives="bool", differentiable=False)
unary("logical_not", pointwise(operator.not_), flags, gives="bool", differentiable=False)
unary("isfinite", pointwise(math.isfinite), gives="bool", differentiable=False)
unary("isnan", pointwise(math.isnan), gives="bool", differentiable=False)


# Reductions


@st.composite
def reductions(draw, shapes=FILLED_SHAPES, keepdims=True, tuples=True):
    """A shape with an axis to reduce: all, one (counted from either end) or several."""
    shape = draw(shapes)
    ndim = len(shape)
    options = [st.none()]
    if ndim:
        options.append(st.integers(-ndim, ndim - 1))
    if tuples and ndim > 1:
        subset = st.lists(st.integers(0, ndim - 1), min_size=1, max_size=ndim, unique=True)
        options.append(subset.map(tuple))
    params = {"axis": draw(st.one_of(options))}
    if keepdims:
        params["keepdims"] = draw(st.booleans())
    return Case((shape,), params, draw(st.sampled_from(LAYOUTS)), draw(SEEDS))


REDUCTION_EXAMPLES = (
    Case(((),), {"axis": None}),
    Case(((4,),), {"axis": 0, "keepdims": True}),
    Case(((2, 3, 4),), {"axis": None, "keepdims": True}, layout="strided"),
    Case(((2, 3, 4),), {"axis": 1}, layout="transposed"),
    Case(((2, 3, 4),), {"axis": (2, 0)}, layout="reversed"),
    Case(((2, 3, 4),), {"axis": (0, -1), "keepdims": True}),
    Case(((3, 1, 2),), {"axis": 1}),
)
ONE_AXIS_EXAMPLES = (
    Case(((5,),), {"axis": 0}),
    Case(((2, 3, 4),), {"axis": 1}, layout="transposed"),
    Case(((3, 4),), {"axis": -1}, layout="strided"),
    Case(((3, 1),), {"axis": 1}),
)
EMPTY_REDUCTIONS = (
    Case(((0,),), {"axis": 0}),
    Case(((2, 0, 3),), {"axis": 1}),
    Case(((2, 0, 3),), {"axis": 2, "keepdims": True}),
    Case(((0, 3),), {"axis": None}),
)


def by_slices(function):
    """A reduction in Python: the numbers of each slice along the axes go to `function`."""

    def apply(x, axis=None, keepdims=False, **params):
        axes = tuple(range(x.ndim)) if axis is None else np.atleast_1d(axis) % max(x.ndim, 1)
        axes = tuple(int(a) for a in axes)
        kept = [a for a in range(x.ndim) if a not in axes]
        rows = np.transpose(x, (*kept, *axes))
        outer = rows.shape[: len(kept)]
        rows = rows.reshape(*outer, math.prod(x.shape[a] for a in axes))
        out = np.zeros(outer)
        for index in np.ndindex(outer):
            out[index] = function(rows[index].tolist(), **params)
        if keepdims:
            out = out.reshape([1 if a in axes else n for a, n in enumerate(x.shape)])
        return out

    return apply


def axes_of(x, axis):
    if axis is None:
        return tuple(range(x.ndim))
    return axis if isinstance(axis, tuple) else (axis,)


def torch_reduction(name, **fixed):
    """A torch reduction over `dim`, which for it must be spelled out where NumPy says None."""

    def apply(torch, x, axis=None, keepdims=False):
        return getattr(torch, name)(x, dim=axes_of(x, axis), keepdim=keepdims, **fixed)

    return apply


def torch_prod(torch, x, axis=None, keepdims=False):
    for a in sorted((a % max(x.ndim, 1) for a in axes_of(x, axis)), reverse=True):
        x = torch.prod(x, dim=a, keepdim=keepdims)
    return x


def reduction(name, numpy, domain=real, *, torch, empty=False, call=None, **rest):
    OPS.append(
        Op(
            name=name,
            call=call or named(name),
            fill=each(domain),
            numpy=by_slices(numpy),
            torch=torch,
            cases=reductions(SHAPES if empty else FILLED_SHAPES),
            examples=REDUCTION_EXAMPLES + (EMPTY_REDUCTIONS if empty else ()),
            **rest,
        )
    )


def mean_of(values):
    return math.fsum(values) / len(values)


def variance_of(values, ddof=0):
    centre = mean_of(values)
    return math.fsum((v - centre) ** 2 for v in values) / (len(values) - ddof)


def with_a_zero(rng, shape):
    """Values with one zero in it, where a product's derivative must not divide."""
    x = about_one(rng, shape)
    if x.size > 1:
        x.flat[rng.integers(x.size)] = 0.0
    return x


def with_two_zeros(rng, shape):
    x = with_a_zero(rng, shape)
    if x.size > 2:
        x.flat[-1] = 0.0
    return x


reduction("sum", math.fsum, torch=torch_reduction("sum"), empty=True)
reduction("mean", mean_of, torch=torch_reduction("mean"))
reduction("var", variance_of, torch=torch_reduction("var", correction=0), roundings=4)
reduction(
    "norm",
    lambda values: math.sqrt(math.fsum(v * v for v in values)),
    nonzero,
    torch=lambda torch, x, axis=None, keepdims=False: torch.linalg.vector_norm(
        x, dim=axes_of(x, axis), keepdim=keepdims
    ),
)
reduction(
    "norm-1",
    lambda values: math.fsum(abs(v) for v in values),
    nonzero,
    call=lambda x, **params: mg.norm(x, ord=1, **params),
    torch=lambda torch, x, axis=None, keepdims=False: torch.linalg.vector_norm(
        x, 1, dim=axes_of(x, axis), keepdim=keepdims
    ),
)
reduction(
    "norm-3",
    lambda values: math.fsum(abs(v) ** 3 for v in values) ** (1 / 3),
    nonzero,
    call=lambda x, **params: mg.norm(x, ord=3, **params),
    torch=lambda torch, x, axis=None, keepdims=False: torch.linalg.vector_norm(
        x, 3, dim=axes_of(x, axis), keepdim=keepdims
    ),
    roundings=4,
)
reduction(
    "norm-inf",
    lambda values: max(abs(v) for v in values),
    lambda rng, shape: np.where(rng.random(shape) < 0.5, -1, 1) * (distinct(rng, shape) + 20.0),
    call=lambda x, **params: mg.norm(x, ord=math.inf, **params),
    torch=lambda torch, x, axis=None, keepdims=False: torch.linalg.vector_norm(
        x, math.inf, dim=axes_of(x, axis), keepdim=keepdims
    ),
)
reduction("max", max, distinct, torch=torch_reduction("amax"))
reduction("min", min, distinct, torch=torch_reduction("amin"))
reduction(
    "logsumexp",
    lambda values: math.log(math.fsum(math.exp(v) for v in values)),
    torch=torch_reduction("logsumexp"),
    roundings=2,
)
reduction("prod", math.prod, about_one, torch=torch_prod, empty=True, roundings=8)
reduction(
    "prod-with-a-zero",
    math.prod,
    with_a_zero,
    call=named("prod"),
    torch=torch_prod,
    roundings=8,
)
reduction(
    "prod-with-two-zeros",
    math.prod,
    with_two_zeros,
    call=named("prod"),
    torch=torch_prod,
    roundings=8,
)
reduction(
    "all",
    all,
    flags,
    torch=None,
    gives="bool",
    differentiable=False,
    empty=True,
)
reduction("any", any, flags, torch=None, gives="bool", differentiable=False, empty=True)

SPREAD_EXAMPLES = tuple(c for c in REDUCTION_EXAMPLES if c.shapes not in (((),), ((3, 1, 2),)))


@st.composite
def wide_reductions(draw):
    """Reductions over at least two elements, for deviations that must not be zero."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=2, max_side=4))
    return draw(reductions(st.just(shape)))


def spread(name, numpy, ddof):
    OPS.append(
        Op(
            name=f"{name}-ddof-{ddof}",
            call=lambda x, **params: getattr(mg, name)(x, ddof=ddof, **params),
            fill=each(distinct),
            numpy=by_slices(numpy),
            torch=torch_reduction(name, correction=ddof),
            cases=wide_reductions(),
            examples=SPREAD_EXAMPLES,
            roundings=4,
        )
    )


spread("var", lambda values: variance_of(values, ddof=1), 1)
spread("std", lambda values: math.sqrt(variance_of(values)), 0)
spread("std", lambda values: math.sqrt(variance_of(values, ddof=1)), 1)


def running_sums(x, axis=None):
    if axis is None:
        x, axis = x.reshape(-1), 0
    out = np.zeros(x.shape)
    for k in range(x.shape[axis]):
        index = [slice(None)] * x.ndim
        index[axis] = k
        before = [slice(None)] * x.ndim
        before[axis] = slice(0, k + 1)
        out[tuple(index)] = x[tuple(before)].sum(axis)
    return out


OPS.append(
    Op(
        name="cumsum",
        call=named("cumsum"),
        fill=each(real),
        numpy=running_sums,
        torch=lambda torch, x, axis=None: (
            torch.cumsum(x.reshape(-1), 0) if axis is None else torch.cumsum(x, axis)
        ),
        cases=reductions(
            hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4),
            keepdims=False,
            tuples=False,
        ),
        examples=(
            *ONE_AXIS_EXAMPLES,
            Case(((2, 3),), {"axis": None}),
            Case(((0, 2),), {"axis": 0}),
        ),
    )
)


def one_axis(min_side=1):
    """A shape of at least one axis, and one of its axes."""

    @st.composite
    def draw_case(draw):
        shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=min_side, max_side=4))
        axis = draw(st.integers(-len(shape), len(shape) - 1))
        return Case((shape,), {"axis": axis}, draw(st.sampled_from(LAYOUTS)), draw(SEEDS))

    return draw_case()


def along_axis(name, function, domain=real, *, torch, call=None, empty=True, **rest):
    """An op that maps each vector along an axis to another; `function` works on one vector."""
    OPS.append(
        Op(
            name=name,
            call=call or named(name),
            fill=each(domain),
            numpy=lambda x, axis=-1: (
                np.apply_along_axis(function, axis, x) if x.size else np.zeros(x.shape)
            ),
            torch=torch,
            cases=one_axis(0 if empty else 1),
            examples=(*ONE_AXIS_EXAMPLES, *((Case(((2, 0),), {"axis": 1}),) if empty else ())),
            **rest,
        )
    )


def bubble_sorted(row):
    row = list(row)
    for end in range(len(row), 1, -1):
        for i in range(end - 1):
            if row[i] > row[i + 1]:
                row[i], row[i + 1] = row[i + 1], row[i]
    return np.array(row)


def normalised_exponentials(row):
    weights = [math.exp(v) for v in row]
    return np.array([w / math.fsum(weights) for w in weights])


along_axis(
    "sort",
    bubble_sorted,
    distinct,
    torch=lambda torch, x, axis=-1: torch.sort(x, dim=axis).values,
)
along_axis(
    "softmax",
    normalised_exponentials,
    torch=lambda torch, x, axis=-1: torch.softmax(x, dim=axis),
    roundings=2,
)
along_axis(
    "log_softmax",
    lambda row: np.log(normalised_exponentials(row)),
    torch=lambda torch, x, axis=-1: torch.log_softmax(x, dim=axis),
    roundings=2,
)
along_axis(
    "argsort",
    lambda row: np.array(sorted(range(len(row)), key=lambda i: row[i])),
    distinct,
    torch=lambda torch, x, axis=-1: torch.argsort(x, dim=axis),
    gives="int",
    differentiable=False,
)


def position_of(extreme):
    return lambda values: values.index(extreme(values))


for _name, _extreme in {"argmax": max, "argmin": min}.items():
    OPS.append(
        Op(
            name=_name,
            call=named(_name),
            fill=each(distinct),
            numpy=by_slices(position_of(_extreme)),
            torch=lambda torch, x, axis=None, keepdims=False, name=_name: getattr(torch, name)(
                x, dim=axis, keepdim=keepdims
            ),
            cases=reductions(tuples=False),
            examples=(
                *ONE_AXIS_EXAMPLES,
                Case(((2, 3),), {"axis": None}),
                Case(((2, 3),), {"axis": 1, "keepdims": True}),
            ),
            gives="int",
            differentiable=False,
        )
    )


@st.composite
def topk_cases(draw):
    case = draw(one_axis())
    size = case.shapes[0][case.params["axis"]]
    return Case(
        case.shapes, {**case.params, "k": draw(st.integers(0, size))}, case.layout, case.seed
    )


def largest(x, k, axis=-1):
    rows = np.moveaxis(x, axis, -1)
    picked = np.array([sorted(row, reverse=True)[:k] for row in rows.reshape(-1, rows.shape[-1])])
    return np.moveaxis(picked.reshape(*rows.shape[:-1], k), -1, axis)


OPS.append(
    Op(
        name="topk",
        call=lambda x, k, axis=-1: mg.topk(x, k, axis=axis)[0],
        fill=each(distinct),
        numpy=largest,
        torch=lambda torch, x, k, axis=-1: torch.topk(x, k, dim=axis).values,
        cases=topk_cases(),
        examples=(
            Case(((5,),), {"k": 2}),
            Case(((3, 4, 2),), {"k": 3, "axis": 1}, layout="transposed"),
            Case(((2, 3),), {"k": 0, "axis": 0}),
        ),
    )
)


# Shapes


def shaped(
    name,
    numpy,
    cases,
    *,
    torch=None,
    call=None,
    domains=(real,),
    op=None,
    fill=None,
    strategy=None,
    **rest,
):
    """An op given by a list of cases (shape or shapes, then parameters)."""
    examples = tuple(
        Case(
            shapes
            if isinstance(shapes, list | tuple) and shapes and isinstance(shapes[0], tuple)
            else (shapes,),
            params,
            layout=LAYOUTS[i % len(LAYOUTS)],
            seed=i,
        )
        for i, (shapes, params) in enumerate(cases)
    )
    OPS.append(
        Op(
            name=name,
            call=call or named(op or name),
            fill=fill or each(*domains),
            numpy=numpy,
            torch=torch,
            cases=st.sampled_from(examples) if strategy is None else strategy,
            examples=examples,
            **rest,
        )
    )


def in_row_major_order(x, shape):
    """Reshape by carrying every element over in order."""
    elements = [x[index] for index in np.ndindex(x.shape)]
    known = math.prod(n for n in shape if n >= 0)
    shape = tuple(len(elements) // known if n == -1 else n for n in shape)
    out = np.zeros(shape)
    for index, value in zip(np.ndindex(shape), elements, strict=True):
        out[index] = value
    return out


@st.composite
def reshape_cases(draw):
    shape = draw(SHAPES)
    size = math.prod(shape)
    options = [(size,), (1, size), (size, 1)]
    if size:
        options += [(-1,), (n, -1) if size % (n := draw(st.integers(1, 4))) == 0 else (-1, 1)]
    return Case(
        (shape,),
        {"shape": draw(st.sampled_from(options))},
        draw(st.sampled_from(LAYOUTS)),
        draw(SEEDS),
    )


shaped(
    "reshape",
    in_row_major_order,
    [
        ((2, 6), {"shape": (3, 4)}),
        ((2, 3, 2), {"shape": (4, -1)}),
        ((), {"shape": (1, 1)}),
        ((1,), {"shape": ()}),
        ((0, 3), {"shape": (3, 0, 2)}),
    ],
    torch=lambda torch, x, shape: torch.reshape(x, shape),
    strategy=reshape_cases(),
)


def with_axes_moved(x, axes=None):
    """out[j_0, j_1, ...] = x[i] with i[axes[k]] = j_k, element by element."""
    axes = tuple(range(x.ndim))[::-1] if axes is None else tuple(a % x.ndim for a in axes)
    out = np.zeros([x.shape[a] for a in axes])
    for index in np.ndindex(x.shape):
        out[tuple(index[a] for a in axes)] = x[index]
    return out


@st.composite
def transpose_cases(draw):
    shape = draw(SHAPES)
    axes = draw(st.none() | st.permutations(range(len(shape))).map(tuple))
    return Case((shape,), {"axes": axes}, draw(st.sampled_from(LAYOUTS)), draw(SEEDS))


shaped(
    "transpose",
    with_axes_moved,
    [
        ((2, 3, 4), {"axes": (2, 0, 1)}),
        ((2, 3, 4), {"axes": (-1, 0, -2)}),
        ((2, 3), {}),
        ((), {}),
        ((0, 3), {}),
    ],
    torch=lambda torch, x, axes=None: x.permute(
        tuple(range(x.ndim))[::-1] if axes is None else axes
    ),
    strategy=transpose_cases(),
)
shaped(
    "swapaxes",
    lambda x, axis1, axis2: np.swapaxes(x, axis1, axis2),
    [
        ((2, 3, 4), {"axis1": 0, "axis2": 2}),
        ((2, 3, 4), {"axis1": -1, "axis2": 1}),
        ((3,), {"axis1": 0, "axis2": 0}),
    ],
    torch=lambda torch, x, axis1, axis2: torch.swapaxes(x, axis1, axis2),
)
shaped(
    "moveaxis",
    lambda x, source, destination: np.moveaxis(x, source, destination),
    [
        ((2, 3, 4), {"source": 0, "destination": -1}),
        ((2, 3, 4, 5), {"source": (0, 2), "destination": (3, 0)}),
    ],
    torch=lambda torch, x, source, destination: torch.moveaxis(x, source, destination),
)
shaped(
    "expand_dims",
    lambda x, axis: np.expand_dims(x, axis),
    [
        ((2, 3), {"axis": 0}),
        ((2, 3), {"axis": -1}),
        ((2, 3), {"axis": (1, 3)}),
        ((), {"axis": 0}),
        ((0, 2), {"axis": 1}),
    ],
    torch=lambda torch, x, axis: x.reshape(np.expand_dims(np.zeros(x.shape), axis).shape),
)
shaped(
    "squeeze",
    lambda x, axis=None: np.squeeze(x, axis),
    [
        ((1, 3, 1), {}),
        ((1, 3, 1), {"axis": 0}),
        ((1, 3, 1), {"axis": -1}),
        ((1, 3, 1, 2), {"axis": (0, 2)}),
        ((1, 1), {}),
        ((2, 3), {}),
    ],
    torch=lambda torch, x, axis=None: x.reshape(np.squeeze(np.zeros(x.shape), axis).shape),
)
shaped(
    "broadcast_to",
    lambda x, shape: x * np.ones(shape),
    [
        ((3, 1), {"shape": (2, 3, 4)}),
        ((), {"shape": (2, 2)}),
        ((1, 4), {"shape": (3, 4)}),
        ((2, 3), {"shape": (2, 3)}),
        ((1,), {"shape": (0,)}),
    ],
    torch=lambda torch, x, shape: torch.broadcast_to(x, shape),
)


def joined(*arrays, axis):
    total = sum(a.shape[axis] for a in arrays)
    shape = list(arrays[0].shape)
    shape[axis] = total
    out, start = np.zeros(shape), 0
    for a in arrays:
        index = [slice(None)] * out.ndim
        index[axis] = slice(start, start + a.shape[axis])
        out[tuple(index)] = a
        start += a.shape[axis]
    return out


shaped(
    "concatenate",
    joined,
    [
        ([(2, 3), (1, 3), (4, 3)], {"axis": 0}),
        ([(2, 3), (2, 0), (2, 2)], {"axis": -1}),
        ([(2, 1, 3), (2, 4, 3), (2, 2, 3)], {"axis": 1}),
    ],
    call=lambda *arrays, axis: mg.concatenate(arrays, axis=axis),
    torch=lambda torch, *tensors, axis: torch.cat(tensors, dim=axis),
    domains=(real, real, real),
)
shaped(
    "stack",
    lambda *arrays, axis: np.moveaxis(np.array([np.array(a) for a in arrays]), 0, axis),
    [
        ([(2, 3), (2, 3), (2, 3)], {"axis": 0}),
        ([(2, 3), (2, 3), (2, 3)], {"axis": -1}),
        ([(2, 3), (2, 3), (2, 3)], {"axis": 1}),
        ([(), (), ()], {"axis": 0}),
    ],
    call=lambda *arrays, axis: mg.stack(arrays, axis=axis),
    torch=lambda torch, *tensors, axis: torch.stack(tensors, dim=axis),
    domains=(real, real, real),
)
shaped(
    "split",
    lambda x, pieces, axis: np.split(x, pieces, axis),
    [
        ((6, 2), {"pieces": 3, "axis": 0}),
        ((2, 7), {"pieces": (2, 3), "axis": -1}),
        ((5, 2), {"pieces": (4,), "axis": 0}),
        ((3, 4), {"pieces": 1, "axis": 1}),
    ],
    call=lambda x, pieces, axis: mg.split(x, pieces, axis=axis),
    torch=lambda torch, x, pieces, axis: torch.tensor_split(x, pieces, dim=axis),
)


def bordered(x, pad_width, constant_value=0.0):
    width = np.broadcast_to(np.array(pad_width), (x.ndim, 2))
    out = np.full([n + a + b for n, (a, b) in zip(x.shape, width)], constant_value)
    out[tuple(slice(a, a + n) for n, (a, _) in zip(x.shape, width))] = x
    return out


def torch_pad(torch, x, pad_width, constant_value=0.0):
    width = np.broadcast_to(np.array(pad_width), (x.ndim, 2))[::-1].ravel().tolist()
    return torch.nn.functional.pad(x, width, value=constant_value)


shaped(
    "pad",
    bordered,
    [
        ((2, 3), {"pad_width": 1}),
        ((2, 3), {"pad_width": (1, 2)}),
        ((2, 3), {"pad_width": ((0, 2), (3, 1)), "constant_value": -1.5}),
        ((0, 2), {"pad_width": ((1, 0), (0, 0))}),
    ],
    torch=torch_pad,
)
shaped(
    "flip",
    lambda x, axis=None: np.flip(x, axis),
    [
        ((2, 3), {}),
        ((2, 3, 4), {"axis": 1}),
        ((2, 3, 4), {"axis": (0, -1)}),
        ((), {}),
        ((0, 2), {"axis": 0}),
    ],
    torch=lambda torch, x, axis=None: torch.flip(x, axes_of(x, axis)),
)
shaped(
    "tile",
    np.tile,
    [
        ((2, 3), {"reps": (2, 1)}),
        ((2, 3), {"reps": 2}),
        ((3,), {"reps": (2, 3)}),
        ((2, 1, 3), {"reps": (2,)}),
        ((), {"reps": (3,)}),
        ((2, 3), {"reps": (0, 1)}),
    ],
    call=lambda x, reps: mg.tile(x, reps),
    torch=lambda torch, x, reps: torch.tile(x, reps if isinstance(reps, tuple) else (reps,)),
)
shaped(
    "roll",
    lambda x, shift, axis=None: np.roll(x, shift, axis),
    [
        ((5,), {"shift": 2}),
        ((2, 3), {"shift": -1}),
        ((4, 3), {"shift": 3, "axis": 0}),
        ((4, 3), {"shift": (1, -2), "axis": (0, 1)}),
        ((4, 3), {"shift": [2, 1], "axis": [1, 0]}),
        ((4, 3), {"shift": 7, "axis": -1}),
        ((0, 3), {"shift": 1, "axis": 0}),
    ],
    torch=lambda torch, x, shift, axis=None: torch.roll(x, shift, axis),
)
shaped(
    "astype",
    lambda x: x,
    [((2, 3), {}), ((), {}), ((0,), {})],
    call=lambda x: x.astype("float64"),
    torch=lambda torch, x: x.double(),
    gives="float64",
)


# Reading and adding at places

INDICES = [
    ((5,), 3),
    ((5,), -1),
    ((2, 3), (1, -2)),
    ((5, 3), slice(1, 4)),
    ((5, 3), (slice(None, None, -2), slice(2, None))),
    ((2, 3, 4), (Ellipsis, 1)),
    ((2, 3, 4), (0, Ellipsis, None)),
    ((2, 3), None),
    ((2, 3), Ellipsis),
    ((5,), slice(3, 3)),
    ((5,), [0, 3, 3, 1]),
    ((5,), np.array([[0, -1], [2, 2]])),
    ((4, 3), (np.array([0, 3, 3]), np.array([2, 1, 1]))),
    ((4, 3), (np.array([[0], [2]]), np.array([1, 1, 0]))),
    ((2, 3, 4), (np.array([1, 0, 1]), slice(None), np.array([2, 2, 0]))),
    ((2, 3, 4), (slice(None), np.array([2, 0, 2]), 1)),
    ((3, 2), np.array([[True, False], [False, True], [True, True]])),
    ((3, 2), np.array([True, False, True])),
    ((3, 4), (slice(1, None), np.array([True, False, True, True]))),
    ((3, 4), (np.array([True, False, True]), np.array([3, 0]))),
    ((3,), np.array([], dtype=int)),
    ((0, 3), slice(None)),
    ((), Ellipsis),
    ((), ()),
]


def has_negative_step(index):
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(p, slice) and (p.step or 1) < 0 for p in parts)


def torch_getitem(torch, x, index):
    """torch has no negative steps: read those by NumPy-computed positions instead."""
    if has_negative_step(index):
        places = np.arange(x.numel()).reshape(tuple(x.shape))[index]
        return x.reshape(-1)[torch.as_tensor(places.copy())]
    parts = index if isinstance(index, tuple) else (index,)
    parts = tuple(torch.as_tensor(p) if isinstance(p, np.ndarray | list) else p for p in parts)
    return x[parts]


@st.composite
def index_cases(draw):
    shape = draw(SHAPES)
    kinds = [hnp.basic_indices(shape, allow_newaxis=True)]
    if shape and math.prod(shape):
        kinds.append(hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2)))
        kinds.append(hnp.arrays(np.bool_, shape))
    index = draw(st.one_of(kinds))
    return Case((shape,), {"index": index}, draw(st.sampled_from(LAYOUTS)), draw(SEEDS))


shaped(
    "getitem",
    lambda x, index: x[index],
    [(shape, {"index": index}) for shape, index in INDICES],
    call=lambda x, index: x[index],
    torch=torch_getitem,
    strategy=index_cases(),
)


def positions(rng, shape, size):
    """Integer indices into an axis of `size`, some counted from its end."""
    return rng.integers(-size, size, shape)


def taken(x, indices, axis=None):
    if axis is None:
        x, axis = x.reshape(-1), 0
    rows = np.moveaxis(x, axis, 0)
    out = np.zeros((*indices.shape, *rows.shape[1:]))
    for place in np.ndindex(indices.shape):
        out[place] = rows[indices[place]]
    axis %= x.ndim
    order = [
        *range(indices.ndim, indices.ndim + axis),
        *range(indices.ndim),
        *range(indices.ndim + axis, out.ndim),
    ]
    return np.transpose(out, order)


def fill_take(rng, case):
    shape, index_shape = case.shapes
    axis = case.params.get("axis")
    size = math.prod(shape) if axis is None else shape[axis]
    return [real(rng, shape), positions(rng, index_shape, size)]


def torch_take(torch, x, indices, axis=None):
    if axis is None:
        return x.reshape(-1)[indices]
    return x[(slice(None),) * (axis % x.ndim) + (indices,)]


shaped(
    "take",
    taken,
    [
        ([(4, 3), (5,)], {"axis": 0}),
        ([(4, 3), (2, 3)], {"axis": 1}),
        ([(2, 3, 4), (3,)], {"axis": -2}),
        ([(4, 3), (2, 2)], {"axis": None}),
        ([(4, 3), ()], {"axis": 0}),
        ([(4, 3), (0,)], {"axis": 1}),
    ],
    torch=torch_take,
    fill=fill_take,
)


def taken_along(x, indices, axis):
    out = np.zeros(
        np.broadcast_shapes(
            indices.shape, tuple(1 if a == axis % x.ndim else n for a, n in enumerate(x.shape))
        )
    )
    for place in np.ndindex(out.shape):
        source = list(place)
        at = tuple(0 if n == 1 else p for p, n in zip(place, indices.shape))
        source[axis] = indices[at]
        out[place] = x[tuple(source)]
    return out


def fill_take_along(rng, case):
    shape, index_shape = case.shapes
    return [real(rng, shape), positions(rng, index_shape, shape[case.params["axis"]])]


shaped(
    "take_along_axis",
    taken_along,
    [
        ([(4, 3), (2, 3)], {"axis": 0}),
        ([(4, 3), (4, 5)], {"axis": 1}),
        ([(2, 3, 4), (2, 1, 4)], {"axis": -2}),
        ([(4, 3), (4, 0)], {"axis": 1}),
    ],
    torch=lambda torch, x, indices, axis: torch.take_along_dim(x, indices % x.shape[axis], axis),
    fill=fill_take_along,
)


def added_one_by_one(x, updates, index):
    out = x.copy()
    places = np.arange(x.size).reshape(x.shape)[index]
    spread_updates = np.broadcast_to(updates, places.shape)
    for place in np.ndindex(places.shape):
        out.flat[places[place]] += spread_updates[place]
    return out


def torch_scatter_add(torch, x, updates, index):
    places = np.arange(x.numel()).reshape(tuple(x.shape))[index]
    spread_updates = torch.broadcast_to(updates, places.shape).reshape(-1)
    flat = x.reshape(-1).index_add(0, torch.as_tensor(places.ravel().copy()), spread_updates)
    return flat.reshape(x.shape)


shaped(
    "scatter_add",
    added_one_by_one,
    [
        ([(5,), (4,)], {"index": np.array([0, 3, 3, 1])}),
        ([(4, 3), (3, 3)], {"index": np.array([2, 0, 2])}),
        ([(4, 3), (3,)], {"index": (np.array([0, 3, 3]), np.array([2, 1, 1]))}),
        ([(4, 3), (2, 3)], {"index": slice(1, 3)}),
        ([(4, 3), ()], {"index": (slice(None), np.array([0, 0, 2]))}),
        ([(3,), (0,)], {"index": np.array([], dtype=int)}),
    ],
    call=lambda x, updates, index: mg.scatter_add(x, index, updates),
    torch=torch_scatter_add,
    domains=(real, real),
)
for _name, _keep in {
    "tril": lambda i, j, k: j <= i + k,
    "triu": lambda i, j, k: j >= i + k,
}.items():
    shaped(
        _name,
        lambda x, k=0, keep=_keep: (
            x
            * np.array(
                [[keep(i, j, k) for j in range(x.shape[-1])] for i in range(x.shape[-2])],
                dtype=float,
            ).reshape(x.shape[-2:])
        ),
        [
            ((3, 4), {}),
            ((4, 3), {"k": 1}),
            ((2, 3, 3), {"k": -1}),
            ((0, 3), {}),
        ],
        torch=lambda torch, x, k=0, name=_name: getattr(torch, name)(x, k),
    )


# Products and linear algebra


def summed_products(x, y):
    """matmul by its definition: out[..., i, j] = sum over k of x[..., i, k] y[..., k, j]."""
    rows = x[None, :] if x.ndim == 1 else x
    columns = y[:, None] if y.ndim == 1 else y
    out = (rows[..., :, :, None] * columns[..., None, :, :]).sum(-2)
    if x.ndim == 1:
        out = out[..., 0, :]
    return out[..., 0] if y.ndim == 1 else out


MATMUL_SHAPES = hnp.mutually_broadcastable_shapes(
    signature="(n?,k),(k,m?)->(n?,m?)", max_dims=2, min_side=0, max_side=4
).map(lambda found: tuple(found.input_shapes))

shaped(
    "matmul",
    summed_products,
    [
        ([(2, 3), (3, 4)], {}),
        ([(3,), (3, 4)], {}),
        ([(2, 3), (3,)], {}),
        ([(3,), (3,)], {}),
        ([(5, 2, 3), (3, 4)], {}),
        ([(2, 3), (5, 3, 4)], {}),
        ([(5, 1, 2, 3), (4, 3, 2)], {}),
        ([(4, 2, 3), (3,)], {}),
        ([(3,), (4, 3, 2)], {}),
        ([(2, 0), (0, 3)], {}),
        ([(0, 2), (2, 3)], {}),
        ([(2, 0, 3), (3, 4)], {}),
        ([(2, 3, 0), (0, 4)], {}),
    ],
    call=lambda x, y: x @ y,
    torch=torch_named("matmul"),
    domains=(real, real),
    strategy=drawn(MATMUL_SHAPES),
    roundings=2,
)


def term_by_term(*arrays, subscripts):
    """einsum as a loop over every assignment of values to letters. No ellipsis."""
    inputs, _, output = subscripts.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if "->" not in subscripts:
        joined_terms = "".join(terms)
        output = "".join(sorted(c for c in set(joined_terms) if joined_terms.count(c) == 1))
    size = {c: n for term, a in zip(terms, arrays) for c, n in zip(term, a.shape)}
    letters = list(size)
    out = np.zeros([size[c] for c in output])
    for values in np.ndindex(*(size[c] for c in letters)):
        at = dict(zip(letters, values))
        product = 1.0
        for term, a in zip(terms, arrays):
            product *= a[tuple(at[c] for c in term)]
        out[tuple(at[c] for c in output)] += product
    return out


EINSUMS = [
    ("ij,jk->ik", [(2, 3), (3, 4)]),
    ("ij,jk", [(2, 3), (3, 4)]),
    ("bij,bjk->bik", [(2, 3, 2), (2, 2, 4)]),
    ("bij,bkj->bki", [(2, 3, 2), (2, 4, 2)]),
    ("ij->ji", [(2, 3)]),
    ("ij->", [(2, 3)]),
    ("ij->j", [(2, 3)]),
    ("ba", [(2, 3)]),
    ("ii->i", [(3, 3)]),
    ("ii", [(3, 3)]),
    ("iij->ji", [(3, 3, 2)]),
    ("iji->j", [(3, 2, 3)]),
    ("iii->i", [(3, 3, 3)]),
    ("i,j->ij", [(3,), (2,)]),
    ("i,i->", [(3,), (3,)]),
    ("i,i,i->i", [(3,), (3,), (3,)]),
    ("ij,ij->ij", [(2, 3), (2, 3)]),
    ("ij,kl->jl", [(2, 3), (4, 2)]),
    ("ii,ij->j", [(3, 3), (3, 2)]),
    ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 2)]),
    ("ij,jk,kl,lm->im", [(2, 3), (3, 4), (4, 2), (2, 3)]),
    ("bqd,bkd,bkv->bqv", [(2, 3, 2), (2, 4, 2), (2, 4, 3)]),
    ("a,ab,abc,bc,c->", [(2,), (2, 3), (2, 3, 2), (3, 2), (2,)]),
    ("a,a,b,b,c,c->abc", [(2,), (2,), (3,), (3,), (2,), (2,)]),
    ("ij,jk->ik", [(2, 0), (0, 4)]),
    ("ij,jk->ik", [(0, 3), (3, 4)]),
    (" i j , j k -> k i ", [(2, 3), (3, 4)]),
    (",ij->ij", [(), (2, 3)]),
]
ELLIPSIS_EINSUMS = [
    ("...ij,...jk->...ik", [(5, 2, 3), (5, 3, 4)]),
    ("...ij,...jk->...ik", [(5, 1, 2, 3), (4, 3, 2)]),
    ("...ij,jk->...ik", [(2, 5, 2, 3), (3, 4)]),
    ("i...,i...->...", [(3, 2, 4), (3, 4)]),
    ("...i->...", [(2, 4, 3)]),
    ("...ii->...i", [(2, 3, 3)]),
    ("...,...->...", [(2, 1), (3,)]),
    ("...ij->...ji", [(2, 3)]),
    ("b...d,d->b...", [(2, 3, 4, 2), (2,)]),
    ("...a,...b", [(4, 2), (1, 3)]),
    ("...ij,...jk,...kl->...il", [(3, 2, 3), (1, 3, 2), (2, 4)]),
]


def einsum_entries(name, entries, numpy, torch):
    counts = sorted({len(shapes) for _, shapes in entries})
    for count in counts:
        shaped(
            f"{name}-{count}",
            numpy,
            [
                (tuple(shapes), {"subscripts": subscripts})
                for subscripts, shapes in entries
                if len(shapes) == count
            ],
            call=lambda *arrays, subscripts: mg.einsum(subscripts, *arrays),
            torch=torch,
            domains=(real,) * count,
            roundings=4,
        )


def torch_einsum(torch, *tensors, subscripts):
    return torch.einsum(subscripts, *tensors)


einsum_entries("einsum", EINSUMS, term_by_term, torch_einsum)
einsum_entries(
    "einsum-ellipsis",
    ELLIPSIS_EINSUMS,
    lambda *arrays, subscripts: np.einsum(subscripts, *arrays),
    torch_einsum,
)

shaped(
    "dot",
    np.dot,
    [
        ([(3,), (3,)], {}),
        ([(2, 3), (3,)], {}),
        ([(2, 3), (3, 4)], {}),
        ([(2, 3), (4, 3, 2)], {}),
        ([(), (2, 3)], {}),
    ],
    torch=lambda torch, x, y: (
        x * y if x.ndim == 0 else torch.tensordot(x, y, dims=([x.ndim - 1], [max(y.ndim - 2, 0)]))
    ),
    domains=(real, real),
    roundings=2,
)
shaped(
    "outer",
    lambda x, y: np.array([[a * b for b in y.ravel()] for a in x.ravel()]).reshape(x.size, y.size),
    [([(2,), (3,)], {}), ([(2, 2), (3,)], {}), ([(0,), (3,)], {}), ([(1,), (1,)], {})],
    torch=lambda torch, x, y: torch.outer(x.reshape(-1), y.reshape(-1)),
    domains=(real, real),
)
shaped(
    "trace",
    lambda x: sum(x[..., i, i] for i in range(min(x.shape[-2:]))) + np.zeros(x.shape[:-2]),
    [((3, 3), {}), ((2, 4), {}), ((5, 3, 2), {}), ((1, 1), {}), ((0, 0), {})],
    torch=lambda torch, x: torch.diagonal(x, dim1=-2, dim2=-1).sum(-1),
)


def well_conditioned(rng, shape):
    n = shape[-1]
    return 0.3 * rng.standard_normal(shape) + np.diag(np.linspace(1.0, 2.0, n))


def eliminated(a, b):
    """Solve by Gauss-Jordan elimination without pivoting (the test matrices need none)."""
    vector = b.ndim == 1
    b = b[:, None] if vector else b
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = np.broadcast_to(a, (*lead, *a.shape[-2:])).copy()
    b = np.broadcast_to(b, (*lead, *b.shape[-2:])).copy()
    n = a.shape[-1]
    for i in range(n):
        pivot = a[..., i : i + 1, i : i + 1].copy()
        a[..., i : i + 1, :] /= pivot
        b[..., i : i + 1, :] /= pivot
        for j in range(n):
            if j != i:
                factor = a[..., j : j + 1, i : i + 1].copy()
                a[..., j : j + 1, :] -= factor * a[..., i : i + 1, :]
                b[..., j : j + 1, :] -= factor * b[..., i : i + 1, :]
    return b[..., 0] if vector else b


shaped(
    "inv",
    lambda x: eliminated(x, np.broadcast_to(np.eye(x.shape[-1]), x.shape)),
    [((3, 3), {}), ((2, 4, 4), {}), ((1, 1), {}), ((0, 2, 2), {})],
    torch=lambda torch, x: torch.linalg.inv(x),
    domains=(well_conditioned,),
    half=False,
)
shaped(
    "solve",
    eliminated,
    [
        ([(3, 3), (3,)], {}),
        ([(3, 3), (3, 2)], {}),
        ([(2, 4, 4), (2, 4, 1)], {}),
        ([(3, 3), (2, 3, 2)], {}),
        ([(2, 3, 3), (3, 2)], {}),
    ],
    torch=lambda torch, a, b: torch.linalg.solve(a, b),
    domains=(well_conditioned, real),
    half=False,
)


def gram(x):
    """A symmetric positive definite matrix from any matrix, so that every direction is tangent."""
    return x @ x.swapaxes(-1, -2) + 0.5 * np.eye(x.shape[-1])


def columnwise_cholesky(x):
    a = x @ np.swapaxes(x, -1, -2) + 0.5 * np.eye(x.shape[-1])
    out = np.zeros(a.shape)
    for j in range(a.shape[-1]):
        for i in range(j, a.shape[-1]):
            rest = a[..., i, j] - (out[..., i, :j] * out[..., j, :j]).sum(-1)
            out[..., i, j] = np.sqrt(rest) if i == j else rest / out[..., j, j]
    return out


def mg_cholesky(x):
    identity = mg.tensor(np.eye(x.shape[-1]), dtype=x.dtype, device=x.device)
    return mg.cholesky(mg.matmul(x, mg.swapaxes(x, -1, -2)) + 0.5 * identity)


shaped(
    "cholesky",
    columnwise_cholesky,
    [((3, 3), {}), ((2, 4, 4), {}), ((1, 1), {})],
    call=mg_cholesky,
    torch=lambda torch, x: torch.linalg.cholesky(
        x @ x.mT + 0.5 * torch.eye(x.shape[-1], dtype=x.dtype)
    ),
    domains=(well_conditioned,),
    half=False,
)


# Fused


def fill_cross_entropy(rng, case):
    shape = case.shapes[0]
    targets = rng.integers(0, shape[-1], shape[:-1])
    if case.params.get("ignore_index") is not None and targets.size > 1:
        targets.flat[0] = case.params["ignore_index"]
    return [real(rng, shape), targets]


def surprise(logits, targets, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    """-log p of the target, row by row, in Python floats."""
    classes = logits.shape[-1]
    losses, count = np.zeros(targets.shape), 0
    for place in np.ndindex(targets.shape):
        if targets[place] == ignore_index:
            continue
        count += 1
        p = normalised_exponentials(logits[place])
        hard = -math.log(p[targets[place]])
        soft = -math.fsum(math.log(q) for q in p) / classes
        losses[place] = (1 - label_smoothing) * hard + label_smoothing * soft
    if reduction == "none":
        return losses
    return losses.sum() / count if reduction == "mean" else losses.sum()


def torch_cross_entropy(torch, logits, targets, **params):
    flat = logits.reshape(-1, logits.shape[-1])
    loss = torch.nn.functional.cross_entropy(flat, targets.reshape(-1), **params)
    return loss.reshape(targets.shape) if params.get("reduction") == "none" else loss


shaped(
    "cross_entropy",
    surprise,
    [
        ([(4, 5), (4,)], {}),
        ([(5,), ()], {}),
        ([(2, 3, 7), (2, 3)], {"ignore_index": 2}),
        ([(2, 3, 7), (2, 3)], {"ignore_index": -100, "label_smoothing": 0.2}),
        ([(4, 3), (4,)], {"reduction": "sum", "label_smoothing": 0.1}),
        ([(2, 3, 4), (2, 3)], {"reduction": "none", "ignore_index": 1}),
        ([(3, 1), (3,)], {}),
    ],
    torch=torch_cross_entropy,
    fill=fill_cross_entropy,
    roundings=4,
)


def probabilities(rng, shape):
    weights = rng.gamma(1.0, 1.0, shape)
    return weights / weights.sum(-1, keepdims=True)


def soft_surprise(logits, targets, label_smoothing=0.0, reduction="mean"):
    classes = logits.shape[-1]
    targets = (1 - label_smoothing) * targets + label_smoothing / classes
    losses = np.zeros(logits.shape[:-1])
    for place in np.ndindex(losses.shape):
        p = normalised_exponentials(logits[place])
        losses[place] = -math.fsum(t * math.log(q) for t, q in zip(targets[place], p))
    return {"none": losses, "mean": losses.mean(), "sum": losses.sum()}[reduction]


def torch_soft_cross_entropy(torch, logits, targets, **params):
    classes = logits.shape[-1]
    loss = torch.nn.functional.cross_entropy(
        logits.reshape(-1, classes), targets.reshape(-1, classes), **params
    )
    return loss.reshape(logits.shape[:-1]) if params.get("reduction") == "none" else loss


shaped(
    "cross_entropy-of-probabilities",
    soft_surprise,
    [
        ([(4, 5), (4, 5)], {}),
        ([(2, 3, 4), (2, 3, 4)], {"label_smoothing": 0.3}),
        ([(2, 3, 4), (2, 3, 4)], {"reduction": "none"}),
        ([(2, 4), (2, 4)], {"reduction": "sum"}),
    ],
    call=lambda logits, targets, **params: mg.cross_entropy(logits, targets, **params),
    torch=torch_soft_cross_entropy,
    domains=(real, probabilities),
    roundings=4,
)


def standardised(x, weight=1.0, bias=0.0, eps=1e-5):
    out = np.zeros(x.shape)
    for place in np.ndindex(x.shape[:-1]):
        row = x[place].tolist()
        out[place] = [(v - mean_of(row)) / math.sqrt(variance_of(row) + eps) for v in row]
    return out * weight + bias


def torch_layer_norm(torch, x, *parameters, eps=1e-5):
    return torch.nn.functional.layer_norm(x, x.shape[-1:], *parameters, eps=eps)


def root_mean_square_scaled(x, weight=1.0, eps=1e-5):
    out = np.zeros(x.shape)
    for place in np.ndindex(x.shape[:-1]):
        row = x[place].tolist()
        scale = math.sqrt(mean_of([v * v for v in row]) + eps)
        out[place] = [v / scale for v in row]
    return out * weight


def torch_rms_norm(torch, x, weight=None, eps=1e-5):
    return torch.nn.functional.rms_norm(x, x.shape[-1:], weight, eps=eps)


NORM_SHAPES = [(2, 5), (3, 2, 4), (6,), (0, 4)]
shaped(
    "layer_norm",
    standardised,
    [([s, s[-1:], s[-1:]], {}) for s in NORM_SHAPES] + [([(2, 4), (4,), (4,)], {"eps": 0.1})],
    torch=torch_layer_norm,
    domains=(real, real, real),
    roundings=8,
)
shaped(
    "layer_norm-without-weights",
    standardised,
    [([s], {}) for s in NORM_SHAPES] + [([(3, 7)], {"eps": 1e-2})],
    op="layer_norm",
    torch=torch_layer_norm,
    roundings=8,
)
shaped(
    "rms_norm",
    root_mean_square_scaled,
    [([s, s[-1:]], {}) for s in NORM_SHAPES] + [([(2, 4), (4,)], {"eps": 0.1})],
    torch=torch_rms_norm,
    domains=(real, real),
    roundings=8,
)
shaped(
    "rms_norm-without-weight",
    root_mean_square_scaled,
    [([s], {}) for s in NORM_SHAPES],
    op="rms_norm",
    torch=torch_rms_norm,
    roundings=8,
)


def attended(q, k, v, causal=False, mask=None, scale=None):
    """Attention query by query; causal is aligned bottom right; grouped heads share keys."""
    group = q.shape[1] // k.shape[1]
    L, S = q.shape[2], k.shape[2]
    scale = 1 / math.sqrt(q.shape[3]) if scale is None else scale
    seen = np.ones((q.shape[0], q.shape[1], L, S), bool)
    if mask is not None:
        seen &= mask
    out = np.zeros((*q.shape[:3], v.shape[3]))
    for b, h, i in np.ndindex(q.shape[:3]):
        keys = [j for j in range(S) if seen[b, h, i, j] and (not causal or j <= i + S - L)]
        if not keys:
            continue
        scores = [scale * math.fsum(q[b, h, i] * k[b, h // group, j]) for j in keys]
        for weight, j in zip(normalised_exponentials(scores), keys):
            out[b, h, i] += weight * v[b, h // group, j]
    return out


def torch_attention(torch, q, k, v, causal=False, mask=None, scale=None):
    L, S = q.shape[2], k.shape[2]
    seen = torch.ones(L, S, dtype=torch.bool) if mask is None else torch.as_tensor(mask)
    if causal:
        seen = seen & torch.ones(L, S, dtype=torch.bool).tril(S - L)
    group = q.shape[1] // k.shape[1]
    k, v = (t.repeat_interleave(group, dim=1) for t in (k, v))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scale)


RAGGED_MASK = np.array([[1, 0, 1, 1], [0, 1, 0, 0], [1, 1, 1, 0]], bool)
shaped(
    "linear",
    lambda x, weight, bias: np.einsum("...k,kn->...n", x, weight) + bias,
    [
        ([(2, 3), (3, 4), (4,)], {}),
        ([(3,), (3, 2), (2,)], {}),
        ([(2, 1, 3), (3, 5), (5,)], {}),
        ([(0, 3), (3, 2), (2,)], {}),
    ],
    torch=lambda torch, x, weight, bias=None: torch.nn.functional.linear(x, weight.T, bias),
    domains=(real, real, real),
    roundings=8,
)
shaped(
    "linear-without-bias",
    lambda x, weight: np.einsum("...k,kn->...n", x, weight),
    [([(2, 3), (3, 4)], {}), ([(2, 1, 3), (3, 2)], {})],
    op="linear",
    torch=lambda torch, x, weight: torch.nn.functional.linear(x, weight.T),
    domains=(real, real),
    roundings=8,
)
shaped(
    "swiglu",
    pointwise(lambda gate, up: gate / (1 + math.exp(-gate)) * up),
    [([(2, 3), (2, 3)], {}), ([(), ()], {}), ([(0, 4), (0, 4)], {})],
    torch=lambda torch, gate, up: torch.nn.functional.silu(gate) * up,
    domains=(real, real),
    roundings=4,
)


PADDING = np.array([[0, 0, 1, 1], [0, 1, 1, 1]], bool)[:, None, None]
ATTENTION = [
    ([(2, 3, 4, 5), (2, 3, 4, 5), (2, 3, 4, 5)], {}),
    ([(2, 2, 4, 3), (2, 2, 4, 3), (2, 2, 4, 3)], {"causal": True}),
    ([(1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 2)], {"causal": True}),
    ([(1, 4, 3, 2), (1, 2, 4, 2), (1, 2, 4, 3)], {}),
    ([(2, 6, 3, 2), (2, 1, 3, 2), (2, 1, 3, 2)], {"causal": True, "scale": 0.3}),
    ([(1, 2, 3, 2), (1, 2, 4, 2), (1, 2, 4, 2)], {"mask": RAGGED_MASK}),
    ([(2, 4, 3, 2), (2, 2, 4, 2), (2, 2, 4, 2)], {"mask": RAGGED_MASK[None, None], "causal": True}),
    ([(1, 1, 1, 3), (1, 1, 6, 3), (1, 1, 6, 3)], {"causal": True}),
    ([(2, 4, 1, 3), (2, 2, 4, 3), (2, 2, 4, 5)], {"mask": PADDING}),
    ([(2, 4, 3, 3), (2, 2, 4, 3), (2, 2, 4, 5)], {"mask": PADDING, "causal": True}),
]
shaped(
    "scaled_dot_product_attention",
    attended,
    ATTENTION,
    torch=torch_attention,
    domains=(real, real, real),
    roundings=8,
)


def turned(x, angles):
    """Pair (x[i], x[i + H/2]) as a complex number, times e^(i angle)."""
    half = x.shape[-1] // 2
    z = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angles)
    return np.concatenate([z.real, z.imag], axis=-1)


def torch_rotary(torch, x, angles):
    cos, sin = (
        torch.tensor(np.concatenate([f(angles)] * 2, axis=-1), dtype=x.dtype)
        for f in (np.cos, np.sin)
    )
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-b, a], dim=-1) * sin


ANGLES = np.outer(np.arange(4), [1.0, 0.3, 0.01])  # (L, H/2)
shaped(
    "rotary",
    turned,
    [
        ([(4, 6)], {"angles": ANGLES}),
        ([(2, 3, 4, 6)], {"angles": ANGLES}),
        ([(2, 4, 5, 6)], {"angles": ANGLES[:, None]}),
        ([(2, 4, 3, 6)], {"angles": np.stack([ANGLES, ANGLES + 2])[:, :, None]}),
        ([(3, 2)], {"angles": np.array([2.0])}),
        ([(2, 0, 3, 6)], {"angles": ANGLES[:1, None]}),
    ],
    call=lambda x, angles: mg.rotary(x, *(f(angles).astype(x.dtype) for f in (np.cos, np.sin))),
    torch=torch_rotary,
    roundings=4,
)


def fill_embedding(rng, case):
    table, ids = case.shapes
    return [real(rng, table), rng.integers(0, table[0], ids)]


shaped(
    "embedding",
    lambda weight, ids: np.array([weight[i] for i in ids.ravel()]).reshape(
        *ids.shape, weight.shape[1]
    ),
    [
        ([(5, 3), (4,)], {}),
        ([(5, 3), (2, 6)], {}),
        ([(5, 1), ()], {}),
        ([(5, 3), (0, 2)], {}),
    ],
    torch=lambda torch, weight, ids: torch.nn.functional.embedding(ids, weight),
    fill=fill_embedding,
)


def dropout_of_seed(x, p):
    mg.manual_seed(17)
    return mg.dropout(x, p=p)


shaped(
    "dropout",
    None,
    [((4, 5), {"p": 0.3}), ((7,), {"p": 0.0}), ((3,), {"p": 0.9}), ((0, 2), {"p": 0.5})],
    call=dropout_of_seed,
    torch=None,
)
shaped(
    "dropout-in-evaluation",
    lambda x, p: x,
    [((4, 5), {"p": 0.3}), ((), {"p": 0.9})],
    call=lambda x, p: mg.dropout(x, p=p, training=False),
    torch=lambda torch, x, p: torch.nn.functional.dropout(x, p, training=False),
)

DIFFERENTIABLE = [op for op in OPS if op.differentiable]
