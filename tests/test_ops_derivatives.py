"""Every op's first and second derivatives against finite differences, and the two modes against
each other."""

import math

import numpy as np
import pytest
from checking import (
    BFLOAT16,
    DIFFERENCE_TOLERANCE,
    HALVES,
    as_numpy,
    assert_close,
    directional_difference,
    directions,
    inner,
    is_floating,
    jacobian_by_differences,
)
from hypothesis import given
from hypothesis import strategies as st
from ops_table import ATTENTION, DIFFERENTIABLE, OPS, Case

import minigrad as mg


def by_name(ops=DIFFERENTIABLE):
    return pytest.mark.parametrize("op", ops, ids=lambda op: op.name)


def leaves(value):
    """The floating-point arrays of an op's result, which may be a list of pieces."""
    return [v for v in (value if isinstance(value, list | tuple) else [value]) if is_floating(v)]


class Problem:
    """An op at a point, as a function of its floating-point arguments alone, and random directions.

    `f` maps Tensors or device arrays to a list; `at` is the point; `v` and `w` are directions at
    it, and `u` is one in the space of results.
    """

    def __init__(self, op, case, device, dtype=np.float64):
        arrays = op.arrays(case)
        arrays = [a.astype(dtype) if is_floating(a) else a for a in arrays]
        places = [i for i, a in enumerate(arrays) if is_floating(a)]
        self.device = device
        fixed = [None if i in places else self.put(a) for i, a in enumerate(arrays)]

        def f(*floating):
            arguments = list(fixed)
            for i, value in zip(places, floating, strict=True):
                arguments[i] = value if isinstance(value, mg.Tensor) else mg.Tensor.constant(value)
            return leaves(op.call(*arguments, **case.params))

        self.f = f
        rng = np.random.default_rng(case.seed + 1)
        self.host = [arrays[i] for i in places]
        self.at = [self.put(a) for a in self.host]
        self.v_host, self.w_host = directions(rng, self.host), directions(rng, self.host)
        self.v, self.w = ([self.put(a) for a in each] for each in (self.v_host, self.w_host))
        self.u_host = directions(rng, [as_numpy(out) for out in f(*self.at)])
        self.u = [self.put(a) for a in self.u_host]
        self.message = f"{op.name} of {case}"

    def put(self, array):
        """A copy on the device that keeps the memory layout on the CPU."""
        return array if self.device == "cpu" else mg.tensor(array, device=self.device).data

    def weighed(self, *floating):
        """<u, f>: a scalar function, as a Tensor when given Tensors."""
        terms = [mg.sum(u * out) for u, out in zip(self.u, self.f(*floating), strict=True)]
        return sum(terms[1:], terms[0])

    def gradient(self, *floating):
        return mg.grad(self.weighed, argnums=tuple(range(len(self.at))))(*floating)

    def slope(self, *floating):
        """The derivative of <u, f> along v, in forward mode."""
        return mg.jvp(self.weighed, floating, tuple(self.v))[1]


def assert_agrees(found, expected, scale, message):
    """Finite differences agree to DIFFERENCE_TOLERANCE of the size of what was differenced."""
    assert abs(found - expected) <= DIFFERENCE_TOLERANCE * (1 + scale), (
        f"{message}: {found!r}, but finite differences give {expected!r}"
    )


def check_first_order(problem):
    def reference(*point):
        return inner(problem.u_host, [as_numpy(o) for o in problem.f(*map(problem.put, point))])

    expected = directional_difference(reference, problem.host, problem.v_host)
    gradient = problem.gradient(*problem.at)
    for g, x in zip(gradient, problem.host, strict=True):
        assert g.shape == x.shape
        assert g.dtype == x.dtype
    scale = abs(expected) + abs(reference(*problem.host))
    found = inner(gradient, problem.v_host)
    assert_agrees(found, expected, scale, f"gradient of {problem.message}")
    found = float(as_numpy(problem.slope(*problem.at)))
    assert_agrees(found, expected, scale, f"jvp of {problem.message}")


SECOND_ORDER = {
    "grad of grad": lambda p: inner(
        mg.vjp(lambda *x: product_with(p.w, p.gradient(*x)), *p.at)[1](1.0), p.v_host
    ),
    "jvp of grad": lambda p: inner(mg.jvp(p.gradient, tuple(p.at), tuple(p.v))[1], p.w_host),
    "grad of jvp": lambda p: inner(
        mg.grad(p.slope, argnums=tuple(range(len(p.at))))(*p.at), p.w_host
    ),
    "jvp of jvp": lambda p: float(as_numpy(mg.jvp(p.slope, tuple(p.at), tuple(p.w))[1])),
}


def product_with(ws, gradients):
    terms = [mg.sum(w * g) for w, g in zip(ws, gradients, strict=True)]
    return sum(terms[1:], terms[0])


def check_second_order(problem):
    def reference(*point):
        return inner(problem.w_host, problem.gradient(*map(problem.put, point)))

    expected = directional_difference(reference, problem.host, problem.v_host)
    scale = abs(expected) + abs(reference(*problem.host))
    for name, product in SECOND_ORDER.items():
        assert_agrees(product(problem), expected, scale, f"{name} of {problem.message}")


@by_name()
def test_first_derivatives_match_finite_differences(op, device):
    for case in op.examples:
        check_first_order(Problem(op, case, device))


@by_name()
@given(data=st.data())
def test_first_derivatives_match_finite_differences_on_drawn_shapes(op, data, device):
    check_first_order(Problem(op, data.draw(op.cases), device))


@by_name()
def test_second_derivatives_match_finite_differences_in_all_mode_pairs(op, device):
    for case in op.examples:
        check_second_order(Problem(op, case, device))


@by_name()
@given(data=st.data())
def test_second_derivatives_match_finite_differences_on_drawn_shapes(op, data, device):
    check_second_order(Problem(op, data.draw(op.cases), device))


def check_duality(problem):
    """<v, J u> = <J^T v, u>, to the rounding of float64."""
    f, at = problem.f, tuple(problem.at)
    pushed = mg.jvp(f, at, tuple(problem.v))[1]
    _, pullback = mg.vjp(f, *at)
    pulled = pullback(problem.u)
    left, right = inner(problem.u_host, pushed), inner(pulled, problem.v_host)
    terms = [np.abs(as_numpy(p) * u).sum() for p, u in zip(pushed, problem.u_host, strict=True)]
    assert_close(left / (1 + sum(terms)), right / (1 + sum(terms)), np.float64, problem.message)


@by_name()
def test_jvp_and_vjp_are_transposes_on_random_directions(op, device):
    for case in op.examples:
        check_duality(Problem(op, case, device))


@by_name()
@given(data=st.data())
def test_jvp_and_vjp_are_transposes_on_drawn_shapes(op, data, device):
    check_duality(Problem(op, data.draw(op.cases), device))


@by_name()
def test_a_linearized_op_is_its_jvp(op, device):
    for case in op.examples[:3]:
        problem = Problem(op, case, device)
        _, pushed = mg.jvp(problem.f, tuple(problem.at), tuple(problem.v))
        out, f_jvp = mg.linearize(problem.f, *problem.at)
        assert len(out) == len(problem.u)
        for mine, theirs in zip(f_jvp(*problem.v), pushed, strict=True):
            assert_close(mine, theirs, np.float64, problem.message)


@by_name([op for op in DIFFERENTIABLE if op.half])
@pytest.mark.parametrize("dtype", [*HALVES, np.float32], ids=str)
def test_derivatives_have_the_dtype_of_their_inputs(op, dtype, device):
    """In every floating dtype: gradients, tangents and both derivatives of them."""
    case = op.examples[min(1, len(op.examples) - 1)]
    problem = Problem(op, case, device, dtype)
    gradient = problem.gradient(*problem.at)
    assert [g.dtype for g in gradient] == [dtype] * len(problem.at)
    out, tangent = mg.jvp(problem.f, tuple(problem.at), tuple(problem.v))
    assert [t.dtype for t in tangent] == [o.dtype for o in out]
    _, second = mg.jvp(problem.gradient, tuple(problem.at), tuple(problem.v))
    assert [s.dtype for s in second] == [dtype] * len(problem.at)


@by_name([op for op in DIFFERENTIABLE if op.name not in ("sign",)])
def test_single_precision_gradients_agree_with_double(op, device):
    """The float32 gradient is that of float64 at the same point, to 64 roundings of float32."""
    for case in op.examples[:3]:
        single = Problem(op, case, device, np.float32)
        double = Problem(op, case, device)
        double.at = [double.put(a.astype(np.float64)) for a in single.host]
        double.u = [double.put(u.astype(np.float64)) for u in single.u_host]
        for mine, exact in zip(
            single.gradient(*single.at), double.gradient(*double.at), strict=True
        ):
            assert_close(mine, exact, np.float32, single.message, factor=2.0)


MIXED = [
    ("multiply", lambda x, y: x * y),
    ("add", lambda x, y: x + y),
    ("divide", lambda x, y: x / (y * y + 1)),
    ("power", lambda x, y: (x * x + 1) ** y),
    ("maximum", mg.maximum),
    ("where", lambda x, y: mg.where(mg.tensor([True, False, True], device=x.device), x, y)),
    ("concatenate", lambda x, y: mg.concatenate([x, y])),
    ("stack", lambda x, y: mg.stack([x, y])),
    ("matmul", mg.matmul),
    ("einsum", lambda x, y: mg.einsum("i,j->ij", x, y)),
    ("scatter_add", lambda x, y: mg.scatter_add(x, np.array([2, 0, 2]), y)),
    ("layer_norm", lambda x, y: mg.layer_norm(x, y)),
]
FLOAT_PAIRS = [
    (np.float32, np.float64),
    (np.float16, np.float32),
    (BFLOAT16, np.float32),
    (np.float16, np.float64),
    (BFLOAT16, np.float64),
]


@pytest.mark.parametrize(("narrow", "wide"), FLOAT_PAIRS)
@pytest.mark.parametrize(("name", "f"), MIXED, ids=[name for name, _ in MIXED])
def test_promoted_operands_get_gradients_of_their_own_dtype(name, f, narrow, wide, device):
    x = mg.tensor(np.array([0.5, -1.25, 2.0]).astype(narrow), device=device)
    y = mg.tensor(np.array([1.5, 0.75, -0.25]).astype(wide), device=device)
    for a, b in ((x, y), (y, x)):
        out, pullback = mg.vjp(f, a, b)
        if name not in ("layer_norm", "scatter_add"):
            assert out.dtype == wide
        da, db = pullback(out)
        assert (da.dtype, db.dtype) == (a.dtype, b.dtype)
        _, tangent = mg.jvp(f, (a, b), (a, b))
        assert tangent.dtype == out.dtype
        again = mg.jvp(lambda a, b, g=out: mg.vjp(f, a, b)[1](g), (a, b), (a, b))[1]
        assert (again[0].dtype, again[1].dtype) == (a.dtype, b.dtype)


@by_name([op for op in OPS if not op.differentiable and op.gives == "float"])
def test_piecewise_constant_ops_have_derivative_zero(op, device):
    for case in op.examples:
        problem = Problem(op, case, device)
        for g in problem.gradient(*problem.at):
            assert_close(g, np.zeros(g.shape), np.float64)
        assert float(as_numpy(problem.slope(*problem.at))) == 0.0


# Kinks and conventions


def slopes(f, *point):
    """The derivatives of f at a point, by both modes, as a list of floats each."""
    arrays = [np.asarray(p, np.float64) for p in point]
    reverse = mg.grad(lambda *x: mg.sum(f(*x)), argnums=tuple(range(len(arrays))))(*arrays)
    forward = []
    for i in range(len(arrays)):
        tangents = [np.zeros_like(a) for a in arrays]
        tangents[i] = np.ones_like(arrays[i])
        forward.append(mg.jvp(f, tuple(arrays), tuple(tangents))[1])
    assert [float(g) for g in reverse] == [float(t) for t in forward]
    return [float(g) for g in reverse]


def test_maximum_and_minimum_split_the_gradient_at_ties():
    assert slopes(mg.maximum, 2.0, 2.0) == [0.5, 0.5]
    assert slopes(mg.minimum, -1.0, -1.0) == [0.5, 0.5]


def test_max_and_min_share_the_gradient_evenly_among_equals(device):
    x = mg.tensor(np.array([[1.0, 3.0, 3.0], [2.0, 0.5, -1.0]]), device=device)
    gradient = mg.grad(lambda x: mg.sum(mg.max(x, axis=1)))(x)
    np.testing.assert_array_equal(gradient.numpy(), [[0, 0.5, 0.5], [1, 0, 0]])
    gradient = mg.grad(lambda x: mg.min(-x))(x)
    np.testing.assert_array_equal(gradient.numpy(), [[0, -0.5, -0.5], [0, 0, 0]])


def test_abs_relu_and_norm_have_derivative_zero_at_zero():
    assert slopes(mg.abs, 0.0) == [0.0]
    assert slopes(mg.relu, 0.0) == [0.0]
    np.testing.assert_array_equal(mg.grad(mg.norm)(np.zeros(3)), np.zeros(3))


def test_clip_passes_the_gradient_from_bound_to_bound():
    for x, expected in ((-1.5, 0.0), (-1.0, 1.0), (0.3, 1.0), (2.0, 1.0), (2.5, 0.0)):
        assert slopes(lambda x: mg.clip(x, -1.0, 2.0), x) == [expected]


@pytest.mark.parametrize(
    ("exponent", "first", "second"),
    [(0, 0.0, 0.0), (1, 1.0, 0.0), (2, 0.0, 2.0), (3, 0.0, 0.0), (2.0, 0.0, 2.0), (4, 0.0, 0.0)],
)
def test_whole_powers_of_zero_have_the_derivatives_of_the_polynomial(exponent, first, second):
    f = lambda x: x**exponent
    zero = np.asarray(0.0)
    assert slopes(f, 0.0) == [first]
    assert float(mg.grad(mg.grad(f))(zero)) == second
    assert float(mg.hvp(f, (zero,), (np.asarray(1.0),))[0]) == second


@pytest.mark.parametrize(("y", "in_x", "in_y"), [(0.0, 0.0, 0.0), (1.0, 1.0, 0.0), (2.0, 0.0, 0.0)])
def test_zero_to_a_tensor_power_has_finite_derivatives(y, in_x, in_y):
    assert slopes(mg.power, 0.0, y) == [in_x, in_y]


def test_a_negative_base_with_a_whole_tensor_exponent_differentiates_in_the_base():
    x, y = np.asarray(-2.0), np.asarray(3.0)
    assert float(mg.grad(mg.power)(x, y)) == 12.0
    assert float(mg.grad(mg.grad(mg.power))(x, y)) == -12.0


def test_where_keeps_the_branch_not_taken_out_of_the_gradient():
    """The double where: the branch not taken is fed a harmless number, so no NaN leaks out."""
    x = np.array([-1.0, 0.5, 2.0])

    def f(x):
        safe = mg.where(x > 0, x, 1.0)
        return mg.sum(mg.where(x > 0, mg.log(safe), x))

    np.testing.assert_allclose(mg.grad(f)(x), [1.0, 2.0, 0.5])


def test_sort_and_topk_send_each_gradient_where_the_value_came_from():
    x = np.array([0.3, 2.0, -1.0, 0.7])
    weights = np.array([1.0, 10.0, 100.0, 1000.0])
    gradient = mg.grad(lambda x: mg.sum(mg.sort(x) * weights))(x)
    np.testing.assert_array_equal(gradient, [10.0, 1000.0, 1.0, 100.0])
    gradient = mg.grad(lambda x: mg.sum(mg.topk(x, 2)[0] * weights[:2]))(x)
    np.testing.assert_array_equal(gradient, [0.0, 1.0, 0.0, 10.0])


def test_indices_named_twice_add_their_gradients():
    x = np.array([1.0, 2.0, 3.0])
    gradient = mg.grad(lambda x: mg.sum(x[np.array([2, 0, 2, -1])] * np.arange(1.0, 5.0)))(x)
    np.testing.assert_array_equal(gradient, [2.0, 0.0, 1 + 3 + 4])


def test_the_gradient_of_an_embedding_adds_up_repeated_ids():
    weight, ids = np.arange(12.0).reshape(4, 3), np.array([[1, 3], [1, 1]])
    g = np.arange(12.0).reshape(2, 2, 3)
    (gradient,) = mg.vjp(lambda w: mg.embedding(w, ids), weight)[1](g)
    expected = np.zeros((4, 3))
    for place in np.ndindex(2, 2):
        expected[ids[place]] += g[place]
    np.testing.assert_array_equal(gradient, expected)


def test_the_cholesky_gradient_is_symmetric():
    """Only symmetric matrices have a factor, so the gradient is taken within them."""
    x = np.array([[2.0, 0.3, -0.4], [0.3, 1.5, 0.2], [-0.4, 0.2, 1.0]])
    weights = np.array([[1.0, 0, 0], [-2.0, 0.5, 0], [0.25, 3.0, -1.0]])
    gradient = mg.grad(lambda x: mg.sum(mg.cholesky(x) * weights))(x)
    np.testing.assert_allclose(gradient, gradient.T, rtol=1e-12)
    direction = np.array([[0.5, 1.0, -0.2], [1.0, -0.3, 0.7], [-0.2, 0.7, 0.4]])
    expected = directional_difference(
        lambda x: np.sum(np.linalg.cholesky(x) * weights), [x], [direction]
    )
    np.testing.assert_allclose(np.sum(gradient * direction), expected, rtol=1e-9)


def test_dropout_uses_one_mask_for_the_value_and_its_derivatives():
    x = np.linspace(1.0, 2.0, 50)
    mg.manual_seed(1)
    out, pullback = mg.vjp(lambda x: mg.dropout(x, p=0.5), x)
    np.testing.assert_array_equal(pullback(np.ones(50))[0], np.where(out != 0, 2.0, 0.0))
    mg.manual_seed(1)
    again, tangent = mg.jvp(lambda x: mg.dropout(x, p=0.5), (x,), (np.ones(50),))
    np.testing.assert_array_equal(again, out)
    np.testing.assert_array_equal(tangent, np.where(out != 0, 2.0, 0.0))


@pytest.mark.parametrize("case", range(len(ATTENTION)))
def test_a_whole_jacobian_of_attention_matches_finite_differences(case):
    """Entry by entry, so that no error can hide in a direction that is orthogonal to it."""
    shapes, params = ATTENTION[case]
    op = next(op for op in OPS if op.name == "scaled_dot_product_attention")
    q, k, v = op.arrays(Case(tuple(shapes), params, seed=3))

    def f(q):
        return mg.scaled_dot_product_attention(q, k, v, **params)

    found = mg.jacobian(f)(q)
    expected = jacobian_by_differences(lambda q: as_numpy(f(q)), q)
    np.testing.assert_allclose(found, expected, atol=1e-9)


# The library's own checker and the tests' own agree


@pytest.mark.parametrize(
    ("f", "shapes"),
    [
        (lambda x, y: mg.matmul(mg.tanh(x), y), [(2, 3), (3, 4)]),
        (lambda x: mg.logsumexp(x * x, axis=1), [(3, 4)]),
        (lambda x: mg.einsum("ii,ij->j", x, x), [(3, 3)]),
        (lambda x, w, b: mg.layer_norm(x, w, b), [(2, 5), (5,), (5,)]),
    ],
)
def test_check_grads_passes_where_the_tests_own_differences_do(f, shapes):
    rng = np.random.default_rng(8)
    mg.check_grads(f, tuple(rng.standard_normal(shape) for shape in shapes), order=2)


@pytest.mark.parametrize("name", ["exp", "multiply", "matmul", "sum", "getitem", "softmax"])
def test_check_grads_holds_ops_to_third_order(name):
    op = next(op for op in OPS if op.name == name)
    for case in op.examples[-2:]:
        problem = Problem(op, case, "cpu")
        mg.check_grads(lambda *x, p=problem: p.f(*x), tuple(problem.host), order=3)


def test_the_tests_own_differences_are_good_to_nine_digits():
    x = np.array([0.3, -1.2, 0.8])
    v = np.array([1.0, -0.5, 0.25])
    slope = directional_difference(lambda x: np.sum(np.exp(np.sin(x))), [x], [v])
    np.testing.assert_allclose(slope, np.sum(np.exp(np.sin(x)) * np.cos(x) * v), rtol=1e-10)
    jacobian = jacobian_by_differences(lambda x: np.outer(x, x), x)
    expected = np.einsum("ik,j->ijk", np.eye(3), x) + np.einsum("i,jk->ijk", x, np.eye(3))
    np.testing.assert_allclose(jacobian, expected, atol=1e-10)
    assert math.isclose(inner([x], [v]), float(x @ v), rel_tol=1e-15)
