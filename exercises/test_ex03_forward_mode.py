"""Tests of exercise 03: dual numbers, one ε for each derivative.

The references are closed forms and the complex step, f'(x) = Im f(x + ih) / h, which needs no
dual numbers and loses no digits.
"""

import math

import numpy as np

from minigrad.course.testing import expect, given

TINY = 1e-30  # the complex step: its square vanishes beside 1
LOOSE = 1e-8  # the tolerance where terms of both signs may cancel
TIGHT = 1e-13  # the tolerance where a finite difference must not pass
DIFFERENCE = "a finite difference loses a third to half of the digits"
CONFUSION = "perturbation confusion: the inner derivative counts the motion of x as well"


def numbers(rng, *shape, low=0.5, high=2.0):
    """Random numbers of either sign, none near zero; a float if no shape is given."""
    drawn = rng.uniform(low, high, shape) * rng.choice([-1.0, 1.0], shape)
    return drawn if shape else float(drawn)


def if_close(got, right):
    """`got` itself if it is nearly right, as a finite difference is; else what nobody answers."""
    alike = isinstance(got, (float, np.ndarray)) and np.shape(got) == np.shape(right)
    return got if alike and np.allclose(got, right, rtol=1e-3) else "not close"


def test_the_tangent_of_a_sum_is_the_sum_of_the_tangents(answer):
    expect(answer.rule("add", (2.0, 1.0), (5.0, -3.0)), (7.0, -2.0))


def test_a_product_obeys_the_product_rule(answer, rng):
    expect(
        answer.rule("multiply", (2.0, 1.0), (5.0, -3.0)),
        (10.0, -1.0),
        mistakes={
            "the tangent of a product is not the product of the tangents": (10.0, -3.0),
            "each tangent is multiplied by its own value, not by the other one": (10.0, -13.0),
            "the second factor is taken for a constant": (10.0, 5.0),
        },
    )
    expect(answer.rule("multiply", (5.0, 1.0), (5.0, 1.0)), (25.0, 10.0))
    x, x_dot, y, y_dot = (numbers(rng) for _ in range(4))
    want = x * y, x_dot * y + y_dot * x
    expect(answer.rule("multiply", (x, x_dot), (y, y_dot)), want, tolerance=LOOSE)


def test_a_quotient_obeys_the_quotient_rule(answer, rng):
    expect(
        answer.rule("divide", (6.0, 1.0), (2.0, 3.0)),
        (3.0, -4.0),
        mistakes={
            "the two terms of the quotient rule are added": (3.0, 5.0),
            "the two terms of the quotient rule are swapped": (3.0, 4.0),
            "the quotient rule divides by y² and not by y": (3.0, -8.0),
            "the divisor is taken for a constant": (3.0, 0.5),
            "the tangent of a quotient is not the quotient of the tangents": (3.0, 1 / 3),
        },
    )
    x, x_dot, y, y_dot = (numbers(rng) for _ in range(4))
    moved = complex(x, TINY * x_dot) / complex(y, TINY * y_dot)
    want = moved.real, moved.imag / TINY
    expect(answer.rule("divide", (x, x_dot), (y, y_dot)), want, tolerance=LOOSE)


def test_the_slope_of_the_sine_is_the_cosine(answer, rng):
    value = math.sqrt(3) / 2  # sin 60°, and cos 60° is 1/2
    expect(
        answer.rule("sin", (math.pi / 3, 4.0)),
        (value, 2.0),
        mistakes={
            "the slope is not multiplied by the tangent that came in": (value, 0.5),
            "the sine of the tangent is not the tangent of the sine": (value, math.sin(4.0)),
            "the slope of the sine is cos x, not −cos x": (value, -2.0),
        },
    )
    x, x_dot = numbers(rng), numbers(rng)
    expect(answer.rule("sin", (x, x_dot)), (math.sin(x), math.cos(x) * x_dot))


def test_the_slope_of_the_cosine_is_minus_the_sine(answer, rng):
    value = math.sqrt(3) / 2  # cos 30°, and sin 30° is 1/2
    expect(
        answer.rule("cos", (math.pi / 6, 4.0)),
        (value, -2.0),
        mistakes={
            "the slope of the cosine is −sin x, not sin x": (value, 2.0),
            "the slope is not multiplied by the tangent that came in": (value, -0.5),
        },
    )
    x, x_dot = numbers(rng), numbers(rng)
    expect(answer.rule("cos", (x, x_dot)), (math.cos(x), -math.sin(x) * x_dot))


def test_the_exponential_is_its_own_slope(answer, rng):
    expect(
        answer.rule("exp", (math.log(3.0), 2.0)),
        (3.0, 6.0),
        mistakes={
            "the slope is not multiplied by the tangent that came in": (3.0, 3.0),
            "the exponential of the tangent is not the tangent": (3.0, math.exp(2.0)),
        },
    )
    x, x_dot = numbers(rng), numbers(rng)
    expect(answer.rule("exp", (x, x_dot)), (math.exp(x), math.exp(x) * x_dot))


def test_the_rules_take_arrays_that_broadcast(answer, rng):
    for dtype in ("float64", "float32"):
        x, x_dot = (numbers(rng, 3).astype(dtype) for _ in range(2))
        y, y_dot = (numbers(rng, 2, 1).astype(dtype) for _ in range(2))
        xs, ys = np.broadcast_arrays(x.astype("float64"), y.astype("float64"))
        xs_dot, ys_dot = np.broadcast_arrays(x_dot.astype("float64"), y_dot.astype("float64"))
        moved_x, moved_y = xs + 1j * TINY * xs_dot, ys + 1j * TINY * ys_dot  # (2, 3)
        for name, moved in [
            ("add", moved_x + moved_y),
            ("multiply", moved_x * moved_y),
            ("divide", moved_x / moved_y),
        ]:
            want = moved.real.astype(dtype), (moved.imag / TINY).astype(dtype)
            expect(answer.rule(name, (x, x_dot), (y, y_dot)), want)
        for name, function in [("sin", np.sin), ("cos", np.cos), ("exp", np.exp)]:
            moved = function(moved_x[0])
            want = moved.real.astype(dtype), (moved.imag / TINY).astype(dtype)
            expect(answer.rule(name, (x, x_dot)), want)


def test_the_slope_of_a_polynomial_by_hand(answer):
    f = given("formula", "lambda x: x * x + 3 * x")
    got = answer.derivative(f, 5.0)
    expect(
        got,
        13.0,
        mistakes={
            "this is the value f(x), not the slope": 40.0,
            "a constant is given a tangent of 1, but it does not move": 18.0,
            DIFFERENCE: if_close(got, 13.0),
        },
    )
    expect(
        answer.derivative(f, np.array([5.0, -1.0, 0.5])),
        np.array([13.0, 1.0, 4.0]),
        mistakes={"the slope of a sum of all elements, not one slope for each": 18.0},
    )


def test_the_slope_of_a_loop_has_all_its_digits(answer, rng):
    x = abs(numbers(rng))
    got = answer.derivative(given("square_root", 8), x)
    want = 0.5 / math.sqrt(x)
    expect(got, want, mistakes={DIFFERENCE: if_close(got, want)}, tolerance=TIGHT)


def test_the_slopes_of_formulas_on_arrays_of_either_precision(answer, rng):
    cases = [
        ("lambda x: np.exp(-x) * np.sin(x)", lambda x: np.exp(-x) * (np.cos(x) - np.sin(x))),
        ("lambda x: 1 / (1 + np.exp(-x))", lambda x: 1 / (2 + np.exp(x) + np.exp(-x))),
        ("lambda x: np.cos(np.exp(x)) - 2 / x", lambda x: 2 / x**2 - np.sin(np.exp(x)) * np.exp(x)),
        ("lambda x: x * x / (3 - x)", lambda x: x * (6 - x) / (3 - x) ** 2),
    ]
    x = numbers(rng, 2, 3)
    for text, slope in cases:
        expect(answer.derivative(given("formula", text), x), slope(x))
        single = x.astype("float32")
        expect(answer.derivative(given("formula", text), single), slope(single), dtype="float")


def test_a_constant_stands_still(answer):
    expect(answer.derivative(given("formula", "lambda x: 7.0"), 3.0), 0.0)
    expect(answer.derivative(given("formula", "lambda x: x"), 3.0), 1.0)
    expect(answer.derivative(given("formula", "lambda x: 2.0 + 4.0 * x - np.sin(1.0)"), 3.0), 4.0)
    x = np.array([3.0, 5.0])
    for text, slope in [("lambda x: x", 1.0), ("lambda x: x + x + 7.0", 2.0)]:
        expect(
            answer.derivative(given("formula", text), x),
            np.array([slope, slope]),
            mistakes={"x moves with one single 1, not with a 1 for each of its elements": slope},
        )


def test_a_jacobian_vector_product_by_hand(answer):
    f = given("formula", "lambda x, y: (x * y, x + y)")
    expect(
        answer.jvp(f, (2.0, 5.0), (3.0, -2.0)),
        ((10.0, 7.0), (11.0, 1.0)),
        mistakes={
            "the direction is ignored: every input moves at speed 1": ((10.0, 7.0), (7.0, 2.0)),
            "only the first input moves": ((10.0, 7.0), (15.0, 3.0)),
            "each output comes with its tangent, but asked are values, then tangents": (
                (10.0, 11.0),
                (7.0, 1.0),
            ),
        },
    )
    expect(answer.jvp(f, (2.0, 5.0), (1.0, 0.0)), ((10.0, 7.0), (5.0, 1.0)))


def test_a_direction_is_followed_in_one_run(answer):
    f = given("formula_for_one_run", "lambda x, y: (x * y,)")
    expect(answer.jvp(f, (2.0, 5.0), (3.0, -2.0)), ((10.0,), (11.0,)))


def test_a_product_with_the_jacobian_of_polar_coordinates(answer, rng):
    r, angle, u, v = (numbers(rng) for _ in range(4))
    f = given("formula", "lambda r, t: (r * np.cos(t), r * np.sin(t), r, 1.0)")
    c, s = math.cos(angle), math.sin(angle)
    expect(
        answer.jvp(f, (r, angle), (u, v)),
        ((r * c, r * s, r, 1.0), (c * u - r * s * v, s * u + r * c * v, u, 0.0)),
        mistakes={
            "the product is with the transpose of the Jacobian": (
                (r * c, r * s, r, 1.0),
                (c * u + s * v, r * c * v - r * s * u, u, 0.0),
            ),
        },
        tolerance=LOOSE,
    )


def test_tangents_have_the_shape_of_their_values(answer, rng):
    x, u = numbers(rng, 3), numbers(rng, 3)
    y, v = numbers(rng, 2, 1), numbers(rng, 2, 1)
    column = np.array([[1.0], [2.0]])
    f = given("formula", "lambda x, y: (x / y, x + np.array([[1.0], [2.0]]), y)")
    values = x / y, x + column, y  # (2, 3), (2, 3), (2, 1)
    tangents = np.empty((2, 3)), np.empty((2, 3)), v
    for i, j in np.ndindex(2, 3):
        tangents[0][i, j] = u[j] / y[i, 0] - x[j] * v[i, 0] / y[i, 0] ** 2
        tangents[1][i, j] = u[j]
    expect(
        answer.jvp(f, (x, y), (u, v)),
        (values, tangents),
        mistakes={
            "a constant's tangent is one 0, not zeros of the constant's shape": (
                values,
                (tangents[0], u, v),
            )
        },
    )


def test_a_whole_jacobian_by_hand(answer):
    J = np.array([[5.0, 2.0], [1.0, 1.0], [3.0, 0.0]])
    expect(
        answer.jacobian(given("formula", "lambda x, y: (x * y, x + y, 3 * x)"), (2.0, 5.0)),
        J,
        mistakes={
            "this is the transpose: outputs belong to rows, inputs to columns": J.T,
            "one pass in the direction (1, 1, …) gives the sum of the columns": J.sum(axis=1),
        },
    )


def test_the_jacobians_of_a_linear_map_and_of_softmax(answer, rng):
    A = rng.normal(size=(2, 4))
    x = tuple(rng.normal(size=4).tolist())
    linear = f"lambda *xs: tuple(sum(a * x for a, x in zip(row, xs)) for row in {A.tolist()})"
    expect(answer.jacobian(given("formula", linear), x), A, mistakes={"this is the transpose": A.T})

    softmax = "lambda *xs: tuple(np.exp(x) / sum(np.exp(y) for y in xs) for x in xs)"
    p = np.exp(x) / np.exp(x).sum()
    expect(answer.jacobian(given("formula", softmax), x), np.diag(p) - np.outer(p, p))

    got = answer.jacobian(given("formula", "lambda x: (np.exp(8 * x),)"), (1.0,))
    want = np.array([[8 * math.exp(8)]])
    expect(got, want, mistakes={DIFFERENCE: if_close(got, want)}, tolerance=TIGHT)


def test_partial_derivatives_by_hand(answer):
    f = given("formula", "lambda x, y: x * x * y")
    point = 3.0, 5.0
    expect(answer.partial(f, (), point), 45.0)
    expect(answer.partial(f, (0,), point), 30.0, mistakes={"this is the slope by y": 9.0})
    expect(answer.partial(f, (1,), point), 9.0, mistakes={"this is the slope by x": 30.0})
    expect(
        answer.partial(f, (0, 0), point),
        10.0,
        mistakes={"only the first derivative is taken": 30.0, "only the last is taken": 30.0},
    )
    for which, first, last in [((0, 1), 30.0, 9.0), ((1, 0), 9.0, 30.0)]:
        expect(
            answer.partial(f, which, point),
            6.0,
            mistakes={
                "only the first derivative is taken": first,
                "only the last derivative is taken": last,
                "perturbation confusion: both derivatives move the same ε": 0.0,
            },
        )


def test_partial_derivatives_of_any_order(answer, rng):
    a, b, x, y = (numbers(rng) for _ in range(4))
    f = given("formula", f"lambda x, y: np.sin({a!r} * x + {b!r} * y)")
    for which in [(0,), (1, 1), (0, 1), (1, 0, 1), (0, 1, 0, 1), (1, 1, 1, 0)]:
        slopes = a ** which.count(0) * b ** which.count(1)
        want = slopes * math.sin(a * x + b * y + len(which) * math.pi / 2)
        expect(answer.partial(f, which, (x, y)), want, tolerance=LOOSE)

    c, d, e = (numbers(rng) for _ in range(3))
    f = given("formula", "lambda c, d, e: c * d / e + np.exp(d)")
    expect(answer.partial(f, (2, 0), (c, d, e)), -d / e**2)
    expect(answer.partial(f, (1, 1), (c, d, e)), math.exp(d))
    expect(answer.partial(f, (0, 2, 1), (c, d, e)), -1 / e**2)


def test_the_puzzle_of_the_notebook(answer):
    sum_inside = given("formula", "lambda d, x: x * d(lambda y: x + y, 1.0)")
    got = answer.puzzle(sum_inside, 1.0)
    expect(
        got,
        1.0,
        mistakes={CONFUSION: 2.0, DIFFERENCE: if_close(got, 1.0)},
        tolerance=TIGHT,
    )
    product_inside = given("formula", "lambda d, x: x * d(lambda y: x * y, 1.0)")
    got = answer.puzzle(product_inside, 3.0)
    expect(
        got,
        6.0,
        mistakes={
            CONFUSION: 4.0,
            "the inner derivative is taken for a constant, but x moves in it too": 3.0,
            "this is nested itself; asked is its derivative": 9.0,
            DIFFERENCE: if_close(got, 6.0),
        },
        tolerance=TIGHT,
    )


def test_the_inner_derivative_is_zero_where_only_the_outer_variable_moves(answer):
    nested = given("formula", "lambda d, x: x * x + x * d(lambda y: x * x, 2.0)")
    expect(
        answer.puzzle(nested, 3.0),
        6.0,
        mistakes={
            "the inner derivative reads a tangent of the outer one: "
            "levels are shared, or it does not ask of which level the tangent is": 12.0,
        },
    )


def test_the_inner_derivative_is_taken_at_the_outer_variable(answer):
    nested = given("formula", "lambda d, x: d(lambda y: x * y * y, x)")  # 2x²
    expect(
        answer.puzzle(nested, 3.0),
        12.0,
        mistakes={"the point of the inner derivative is taken for a constant": 6.0},
    )
    twice = given("formula", "lambda d, x: d(lambda y: y * y * y, x) / d(lambda z: x * z, 2.0)")
    expect(answer.puzzle(twice, 5.0), 3.0)  # 3x² / x


def test_three_levels_do_not_mix(answer):
    nested = given("formula", "lambda d, x: x * d(lambda y: y * d(lambda z: x + y + z, 1.0), 1.0)")
    expect(answer.puzzle(nested, 3.0), 1.0, mistakes={CONFUSION: 3.0})
    nested = given(
        "formula", "lambda d, x: x * d(lambda y: x * y * d(lambda z: x * y * z, 1.0), 1.0)"
    )
    expect(
        answer.puzzle(nested, 2.0),
        24.0,  # x · d/dy (x² y²) at y = 1 is 2x³
        mistakes={CONFUSION: 15.0},
    )


def test_a_nested_program_agrees_with_its_closed_form(answer, rng):
    x, c = (abs(numbers(rng)) for _ in range(2))
    steep = given("formula", f"lambda d, x: x * d(lambda y: np.exp(x * y), {c + 2!r})")
    got = answer.puzzle(steep, x)
    want = x * (2 + (c + 2) * x) * math.exp((c + 2) * x)
    expect(got, want, mistakes={DIFFERENCE: if_close(got, want)}, tolerance=1e-12)
    nested = given("formula", f"lambda d, x: np.sin(x) * d(lambda y: np.exp(x * y), {c!r})")
    want = math.exp(c * x) * (x * math.cos(x) + math.sin(x) + c * x * math.sin(x))
    expect(answer.puzzle(nested, x), want)
    nested = given("formula", f"lambda d, x: d(lambda y: x / (x + y), {c + 3!r})")
    expect(answer.puzzle(nested, x), (x - c - 3) / (x + c + 3) ** 3)
