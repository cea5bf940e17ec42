"""Derivatives inside derivatives, against closed forms, in every combination of modes.

A mode here is a way to turn a function of a scalar into its derivative. `backward` walks the tape
that surrounds all transforms, so it stands outside the others, or inside itself; inside a transform
it is an error.
"""

import numpy as np
import pytest
from checking import as_numpy, assert_close, directional_difference
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg


def one_like(x):
    return x * 0.0 + 1.0


def grad(f):
    return mg.grad(f)


def vjp(f):
    def derivative(x):
        out, pullback = mg.vjp(f, x)
        return pullback(one_like(out))[0]

    return derivative


def jvp(f):
    return lambda x: mg.jvp(f, (x,), (one_like(x),))[1]


def linearize(f):
    return lambda x: mg.linearize(f, x)[1](one_like(x))


def jacobian_reverse(f):
    return mg.jacobian(f, mode="reverse")


def jacobian_forward(f):
    return mg.jacobian(f, mode="forward")


def hvp(f):
    """The derivative of f as half the second derivative of `t * f(x + t)` at t = 0."""

    def derivative(x):
        zero = x * 0.0
        return mg.hvp(lambda t: t * f(x + t), (zero,), (one_like(x),))[0] / 2.0

    return derivative


def backward(f):
    """The derivative of f(x + t) in a leaf t that is zero, so that x may be a part of the tape."""

    def derivative(x):
        shift = mg.tensor(np.zeros(x.shape, x.dtype), device=device_of(x), requires_grad=True)
        out = f(x + shift)
        shift.grad = None  # what a backward inside f has put there
        out.backward(create_graph=True)
        return x * 0.0 if shift.grad is None else shift.grad

    return derivative


def device_of(x):
    if isinstance(x, mg.Tensor):
        return x.device
    return "cpu" if isinstance(x, np.ndarray) else "cuda"


MODES = [grad, vjp, jvp, linearize, jacobian_reverse, jacobian_forward, hvp]


def inside(mode):
    """The modes that can stand directly inside `mode`."""
    return [*MODES, backward] if mode is backward else MODES


def names(modes):
    return [mode.__name__ for mode in modes]


def pairs(first="outer", second="inner"):
    return pytest.mark.parametrize(
        (first, second),
        [
            pytest.param(a, b, id=f"{a.__name__}-of-{b.__name__}")
            for a in (*MODES, backward)
            for b in inside(a)
        ],
    )


@pairs()
def test_the_inner_variable_is_not_confused_with_the_outer_one(outer, inner, xp):
    y = xp.asarray(5.0)
    derivative = outer(lambda x: x * inner(lambda y: x + y)(y))(xp.asarray(3.0))
    assert_close(derivative, 1.0, np.float64)


@pairs()
def test_the_inner_derivative_depends_on_the_outer_variable(outer, inner, xp):
    """d/dx [x * d/dy (x y^2) at y = 5] = d/dx [10 x^2] = 20 x."""
    y = xp.asarray(5.0)
    derivative = outer(lambda x: x * inner(lambda y: x * y * y)(y))(xp.asarray(3.0))
    assert_close(derivative, 60.0, np.float64)


@pairs()
def test_the_inner_point_moves_with_the_outer_variable(outer, inner, xp):
    """d/dx [d/dy (sin(x) y^3) at y = x] = d/dx [3 x^2 sin(x)]."""
    x = 0.7
    derivative = outer(lambda x: inner(lambda y: mg.sin(x) * y**3)(x))(xp.asarray(x))
    assert_close(derivative, 6 * x * np.sin(x) + 3 * x**2 * np.cos(x), np.float64)


@pairs()
def test_an_inner_function_that_ignores_its_variable_has_derivative_zero(outer, inner, xp):
    derivative = outer(lambda x: inner(lambda y: x * x)(x) + 2.0 * x)(xp.asarray(3.0))
    assert_close(derivative, 2.0, np.float64)


@pairs()
def test_an_outer_variable_cut_off_by_detach_contributes_nothing(outer, inner, xp):
    """d/dx [d/dy (stop(x) y^2) at y = x] = 2 x, not 4 x."""
    derivative = outer(lambda x: inner(lambda y: x.detach() * y * y)(x))(xp.asarray(3.0))
    assert_close(derivative, 6.0, np.float64)


@pairs()
def test_two_perturbations_of_one_function_stay_apart(outer, inner, xp):
    """The derivative at 0 of u -> f(x + u), taken twice of exp, is exp (Manzyuk et al., 2019)."""
    zero = xp.asarray(0.0)

    def shifted(mode, f):
        return lambda x: mode(lambda u: f(x + u))(zero)

    assert_close(shifted(outer, shifted(inner, mg.exp))(xp.asarray(1.0)), np.e, np.float64)


@pairs()
def test_a_closed_over_tensor_gets_its_gradient_through_two_levels(outer, inner, xp):
    """d/dw of d2/dx2 (w^2 x^3) = 12 w x, by backward on a leaf that both levels close over."""
    w = mg.tensor(xp.asarray(1.5), requires_grad=True)
    x = mg.tensor(xp.asarray(0.5))
    second = outer(inner(lambda x: w * w * x**3))(x)
    assert_close(second, 6 * 1.5**2 * 0.5, np.float64)
    w.grad = None
    second.backward()
    assert_close(w.grad, 12 * 1.5 * 0.5, np.float64)


@pairs()
def test_a_closed_over_tensor_of_the_outer_level_is_seen_by_the_inner_one(outer, inner, xp):
    """d/dx [d/dy exp(a y) at y = 1/2], with a = x^2 computed at the outer level."""

    def f(x):
        a = x * x
        return inner(lambda y: mg.exp(a * y))(x * 0.0 + 0.5)

    x = 0.9
    expected = np.exp(x**2 / 2) * (2 * x + x**2 * x)
    assert_close(outer(f)(xp.asarray(x)), expected, np.float64)


@pairs()
def test_checkpoint_between_and_around_the_levels_changes_nothing(outer, inner, xp):
    """d2/dx2 of x^2 sin(x) + x, with the function and its derivative both recomputed."""
    x = 0.8

    def f(x):
        return x * x * mg.sin(x) + x

    derivative = outer(mg.checkpoint(inner(mg.checkpoint(f))))(xp.asarray(x))
    expected = 2 * np.sin(x) + 4 * x * np.cos(x) - x**2 * np.sin(x)
    assert_close(derivative, expected, np.float64)


@pairs()
def test_a_checkpoint_closes_over_the_outer_variable(outer, inner, xp):
    """d/dx [x * d/dy (x y^3) at y = x] = d/dx [3 x^4], the inner function recomputed."""

    def f(x):
        return x * inner(mg.checkpoint(lambda y: x * y**3))(x)

    assert_close(outer(f)(xp.asarray(1.2)), 12 * 1.2**3, np.float64)


@pairs("outer", "middle")
def test_three_levels_each_multiply_by_their_own_variable(outer, middle, xp):
    """d/dx [x d/dy [y d/dz (x y z^2) at z = y] at y = x] = d/dx [6 x^4] = 24 x^3."""
    x = xp.asarray(1.3)
    for inner in inside(middle):

        def innermost(x, y, inner=inner):
            return inner(lambda z: x * y * z * z)(y)

        def f(x):
            return x * middle(lambda y: y * innermost(x, y))(x)

        assert_close(outer(f)(x), 24 * 1.3**3, np.float64, message=f"innermost {inner.__name__}")


@pairs("outer", "middle")
def test_the_third_derivative_in_all_triples_of_modes(outer, middle, xp):
    """d3/dx3 of sin(2x) exp(x), which is (-11 sin 2x - 2 cos 2x) exp(x)."""
    x = 0.4
    expected = (-11 * np.sin(2 * x) - 2 * np.cos(2 * x)) * np.exp(x)
    for inner in inside(middle):
        derivative = outer(middle(inner(lambda x: mg.sin(2.0 * x) * mg.exp(x))))(xp.asarray(x))
        assert_close(derivative, expected, np.float64, message=f"innermost {inner.__name__}")


def test_five_alternating_levels_differentiate_exp_to_exp(xp):
    f = backward(grad(jvp(linearize(vjp(mg.exp)))))
    assert_close(f(xp.asarray(0.25)), np.exp(0.25), np.float64)


# Vectors: the derivative of a scalar function of a vector, and the Jacobian of a vector one.

MATRIX = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]])
POINT = np.array([0.3, -0.8, 1.1])


def basis(x):
    return [mg.tensor(row, device=device_of(x)) for row in np.eye(x.shape[0])]


def rows_by_gradient(f, x):
    """The Jacobian from one gradient per element of the output."""
    out = f(x)
    rows = [mg.grad(lambda x, i=i: f(x)[i])(x) for i in np.ndindex(out.shape)]
    return mg.reshape(mg.stack(rows), out.shape + x.shape)


FULL_JACOBIANS = {
    "jacobian-reverse": lambda f: lambda x: mg.jacobian(f, mode="reverse")(x),
    "jacobian-forward": lambda f: lambda x: mg.jacobian(f, mode="forward")(x),
    "grad": lambda f: lambda x: rows_by_gradient(f, x),
    "jvp": lambda f: lambda x: mg.stack([mg.jvp(f, (x,), (e,))[1] for e in basis(x)], axis=-1),
    "linearize": lambda f: (
        lambda x: mg.stack([mg.linearize(f, x)[1](e) for e in basis(x)], axis=-1)
    ),
}


@pytest.mark.parametrize("inner", FULL_JACOBIANS)
@pytest.mark.parametrize("outer", FULL_JACOBIANS)
def test_jacobians_of_jacobians_of_vector_functions(outer, inner, xp):
    """The second derivative of tanh(A x)^2, a three-way array, against einsum."""
    A = xp.asarray(MATRIX)
    x = mg.tensor(xp.asarray(POINT))

    def f(x):
        return mg.tanh(mg.matmul(A, x)) ** 2

    second = FULL_JACOBIANS[outer](FULL_JACOBIANS[inner](f))(x)
    t = np.tanh(MATRIX @ POINT)
    curvature = 2 * (1 - t**2) * (1 - 3 * t**2)
    expected = np.einsum("a,ai,aj->aij", curvature, MATRIX, MATRIX)
    assert_close(second, expected, np.float64)


@pytest.mark.parametrize("inner", FULL_JACOBIANS)
@pytest.mark.parametrize("outer", FULL_JACOBIANS)
def test_a_vector_function_that_closes_over_the_outer_vector(outer, inner, xp):
    """J_x of [J_y (sin(x) * (B y)) at y = x^2] x, with B square and not symmetric."""
    B = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75], [-0.3, 0.9, 0.1]])
    x = POINT
    B_device = xp.asarray(B)

    def f(x):
        jacobian = FULL_JACOBIANS[inner](lambda y: mg.sin(x) * mg.matmul(B_device, y))(x * x)
        return mg.matmul(jacobian, x)

    outcome = FULL_JACOBIANS[outer](f)(mg.tensor(xp.asarray(x)))
    expected = np.diag(np.cos(x) * (B @ x)) + np.sin(x)[:, None] * B
    assert_close(outcome, expected, np.float64)


def test_grad_of_a_hessian_vector_product_is_a_third_derivative(xp):
    """grad of <w, H(x) v> for f = sum((A x)^3), whose third derivative is constant."""
    A = xp.asarray(MATRIX)
    v, w = np.array([1.0, -0.5, 0.25]), np.array([0.3, 0.7, -1.1])

    def f(x):
        return mg.sum(mg.matmul(A, x) ** 3)

    def curvature(x):
        return mg.sum(xp.asarray(w) * mg.hvp(f, (x,), (xp.asarray(v),))[0])

    expected = 6 * MATRIX.T @ ((MATRIX @ v) * (MATRIX @ w))
    assert_close(mg.grad(curvature)(xp.asarray(POINT)), expected, np.float64)
    tangent = np.array([0.2, -1.0, 0.4])
    _, pushed = mg.jvp(curvature, (xp.asarray(POINT),), (xp.asarray(tangent),))
    assert_close(pushed, expected @ tangent, np.float64)


def test_hvp_of_a_function_that_takes_a_gradient_inside(xp):
    """f(x) = |grad of sum(x^3)|^2 = 9 sum(x^4), so H v = 108 x^2 v."""

    def f(x):
        return mg.sum(mg.grad(lambda y: mg.sum(y**3))(x) ** 2)

    v = np.array([1.0, -2.0, 0.5])
    (product,) = mg.hvp(f, (xp.asarray(POINT),), (xp.asarray(v),))
    assert_close(product, 108 * POINT**2 * v, np.float64)


def test_hessian_of_a_quadratic_whose_matrix_is_itself_differentiated(xp):
    """d/dt of the Hessian of x^T (t^2 S) x is 4 t S."""
    S = MATRIX.T @ MATRIX

    def hessian(t):
        form = mg.hessian(lambda x: mg.sum(x * mg.matmul(t * t * xp.asarray(S), x)))
        return form(xp.asarray(POINT))

    assert_close(mg.jacobian(hessian)(xp.asarray(0.6)), 4 * 0.6 * S, np.float64)
    forward = mg.jacobian(hessian, mode="forward")
    assert_close(forward(xp.asarray(0.6)), 4 * 0.6 * S, np.float64)


def test_the_pullback_of_a_pullback_is_the_jvp(xp):
    """The pullback is linear in the cotangent; transposing it again gives J."""
    A = xp.asarray(MATRIX)

    def f(x):
        return mg.sin(mg.matmul(A, x))

    x, tangent = xp.asarray(POINT), xp.asarray(np.array([0.5, 1.5, -2.0]))
    out, pullback = mg.vjp(f, x)
    _, pull_again = mg.vjp(lambda g: pullback(g)[0], out * 0.0)
    _, pushed = mg.jvp(f, (x,), (tangent,))
    assert_close(pull_again(tangent)[0], pushed, np.float64)
    expected = np.cos(MATRIX @ POINT) * (MATRIX @ np.array([0.5, 1.5, -2.0]))
    assert_close(pushed, expected, np.float64)


def test_differentiating_a_linearized_function_with_respect_to_its_tangent(xp):
    """f_jvp is linear, so its derivative in v is that of f: d/dv [f'(x) v] = e^x."""
    for mode in MODES:
        _, f_jvp = mg.linearize(mg.exp, xp.asarray(0.7))
        derivative = mode(lambda v, f_jvp=f_jvp: f_jvp(v))(xp.asarray(3.0))
        assert_close(derivative, np.exp(0.7), np.float64, message=mode.__name__)


@pytest.mark.parametrize("mode", MODES, ids=names(MODES))
def test_a_linearized_function_made_outside_is_used_inside_another_derivative(mode, xp):
    """d/dx [x * f_jvp(x)] with f'(2) = 12 fixed outside is 24 x."""
    _, f_jvp = mg.linearize(lambda y: y**3, xp.asarray(2.0))
    assert_close(mode(lambda x: x * f_jvp(x))(xp.asarray(0.5)), 12.0, np.float64)


@pytest.mark.parametrize("mode", MODES, ids=names(MODES))
def test_backward_inside_a_transform_is_refused(mode, xp):
    """It would miss how the gradient depends on the transform's variable."""

    def f(x):
        w = mg.tensor(xp.asarray(3.0), requires_grad=True)
        ((w * x) ** 2).backward(create_graph=True)
        return w.grad

    with pytest.raises(RuntimeError, match="inside grad, vjp or jvp"):
        mode(f)(xp.asarray(0.5))


def test_backward_inside_backward_sees_the_outer_variable(xp):
    """With leaves w = 3 and x = 0.5, w.grad of (w x)^2 is 2 w x^2; its derivative in x is 4 w x."""
    w = mg.tensor(xp.asarray(3.0), requires_grad=True)
    x = mg.tensor(xp.asarray(0.5), requires_grad=True)
    ((w * x) ** 2).backward(create_graph=True)
    x.grad = None
    w.grad.backward()
    assert_close(x.grad, 6.0, np.float64)


def test_repeated_backward_with_create_graph_gives_every_derivative_of_a_power(xp):
    x = mg.tensor(xp.asarray(1.5), requires_grad=True)
    value = x**4
    for expected in (4 * 1.5**3, 12 * 1.5**2, 24 * 1.5, 24.0):
        x.grad = None
        value.backward(create_graph=True)
        value = x.grad
        assert_close(value, expected, np.float64)


def test_a_gradient_penalty_trains_through_the_gradient(xp):
    """The WGAN penalty (|df/dx| - 1)^2 for f = sum(w x^2): its gradient in w, in closed form."""
    w = mg.tensor(xp.asarray(MATRIX[0]), requires_grad=True)
    x = mg.tensor(xp.asarray(POINT))
    slope = mg.grad(lambda x: mg.sum(w * x * x))(x)
    penalty = (mg.sqrt(mg.sum(slope**2)) - 1.0) ** 2
    penalty.backward()
    s = 2 * MATRIX[0] * POINT
    length = np.sqrt(np.sum(s**2))
    assert_close(w.grad, 2 * (length - 1) * s / length * 2 * POINT, np.float64)


def test_gradients_flow_through_a_step_of_gradient_descent(xp):
    """Differentiate a loss after two unrolled steps with respect to the learning rate."""
    start, target = POINT, np.array([1.0, 0.5, -0.25])

    def loss(w):
        return mg.sum((w - xp.asarray(target)) ** 2) / 2.0

    def after_two_steps(rate):
        w = xp.asarray(start)
        for _ in range(2):
            w = w - rate * mg.grad(loss)(w)
        return loss(w)

    rate = 0.3
    distance = np.sum((start - target) ** 2)
    expected = -2 * (1 - rate) ** 3 * distance
    for mode in MODES:
        derivative = mode(after_two_steps)(xp.asarray(rate))
        assert_close(derivative, expected, np.float64, message=mode.__name__)


# Programs that nobody would write by hand

MIXING = np.array([[0.3, -1.1, 0.8], [0.9, 0.4, -0.2], [-0.5, 1.2, 0.7]])
STEPS = [
    lambda a, b: a * b,
    lambda a, b: a - 0.5 * b,
    lambda a, b: mg.sin(2.0 * a),
    lambda a, b: mg.softmax(a) * b,
    lambda a, b: mg.gelu(a) + mg.silu(b),
    lambda a, b: a[::-1] * b[0],
    lambda a, b: mg.cumsum(a, axis=0),
    lambda a, b: mg.matmul(MIXING, a),
    lambda a, b: mg.concatenate([a[1:], b[:1]]),
    lambda a, b: mg.rms_norm(a + 3.0) * b,
    lambda a, b: mg.einsum("i,j,ij->j", a, b, MIXING),
    lambda a, b: mg.logsumexp(mg.stack([a, b]), axis=0),
]
INSTRUCTIONS = st.tuples(
    st.sampled_from(range(len(STEPS))), st.integers(0, 9), st.integers(0, 9), st.booleans()
)


def run(program, x):
    """Each instruction applies a step to two earlier values, inside a checkpoint or not."""
    values = [x]
    for step, i, j, recomputed in program:

        def bounded(a, b, step=step):
            return mg.tanh(STEPS[step](a, b))

        f = mg.checkpoint(bounded) if recomputed else bounded
        values.append(f(values[i % len(values)], values[j % len(values)]))
    return mg.sum(values[-1] * np.array([1.0, -0.7, 0.4])) + mg.sum(values[len(values) // 2] ** 2)


@settings(max_examples=25)
@given(program=st.lists(INSTRUCTIONS, min_size=1, max_size=10))
def test_random_programs_have_the_same_derivatives_in_every_mode(program):
    """First against finite differences, then all second derivatives against each other."""
    x, v = POINT, np.array([0.5, -1.0, 0.75])
    one = np.array(1.0)

    def f(x):
        return run(program, x)

    def slope(x):
        return mg.jvp(f, (x,), (v,))[1]

    gradient = mg.grad(f)(x)
    expected = directional_difference(lambda x: as_numpy(f(mg.tensor(x))), [x], [v])
    np.testing.assert_allclose(gradient @ v, expected, rtol=1e-7, atol=1e-7)
    assert_close(slope(x), gradient @ v, factor=4.0)
    assert_close(mg.linearize(f, x)[1](v), gradient @ v, factor=4.0)
    leaf = mg.tensor(x, requires_grad=True)
    f(leaf).backward(create_graph=True)
    assert_close(leaf.grad.detach(), gradient, factor=4.0)

    (product,) = mg.hvp(f, (x,), (v,))
    first, leaf.grad = leaf.grad, None
    mg.sum(first * v).backward()
    for found in (
        mg.grad(lambda x: mg.sum(mg.grad(f)(x) * v))(x),
        mg.grad(slope)(x),
        mg.vjp(slope, x)[1](one)[0],
        mg.jacobian(slope, mode="forward")(x),
        leaf.grad,
    ):
        assert_close(found, product, factor=8.0)


def test_levels_of_two_threads_do_not_meet():
    """Each thread differentiates at its own level; a barrier inside f makes them overlap."""
    import threading

    barrier = threading.Barrier(2, timeout=10)
    found = {}

    def work(name, scale):
        def f(x):
            y = mg.sin(scale * x)
            barrier.wait()
            inner = mg.grad(lambda z: x * z * z)(y)
            barrier.wait()
            return inner * x

        found[name] = mg.grad(f)(np.asarray(0.4))

    threads = [threading.Thread(target=work, args=(i, s)) for i, s in enumerate((1.0, 3.0))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    x = 0.4
    for name, scale in enumerate((1.0, 3.0)):
        expected = 4 * x * np.sin(scale * x) + 2 * x**2 * scale * np.cos(scale * x)
        assert_close(found[name], expected, np.float64)


def test_an_exception_inside_a_level_leaves_no_trace(xp):
    """A function that raises under two levels does not disturb the derivatives taken afterwards."""

    def broken(x):
        return mg.grad(lambda y: y * undefined_value(x))(x)

    def undefined_value(x):
        raise ZeroDivisionError("from the user's own function")

    for mode in MODES:
        with pytest.raises(ZeroDivisionError, match="user's own"):
            mode(broken)(xp.asarray(1.0))
    derivative = jvp(lambda x: x * grad(lambda y: x + y)(x))(xp.asarray(3.0))
    assert_close(derivative, 1.0, np.float64)
