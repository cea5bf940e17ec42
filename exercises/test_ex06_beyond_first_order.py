"""Tests of exercise 06: beyond first order.

The references know the whole Jacobian or Hessian in closed form; the answers never see it.
"""

import numpy as np

from minigrad.course.testing import expect, given


def test_one_jacobian_by_hand(answer):
    J = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    expect(
        answer.jacobian(given("jvp", J), given("vjp", J), 3, 2),
        J,
        mistakes={"this is the transpose: outputs must be the rows, inputs the columns": J.T},
    )


def test_with_few_outputs_the_jacobian_is_computed_by_rows(answer, rng):
    for n, m in [(7, 3), (4, 1)]:
        J = rng.normal(size=(m, n))
        jvp, vjp = given("jvp", J, 0), given("vjp", J, m)
        expect(
            answer.jacobian(jvp, vjp, n, m),
            J,
            mistakes={
                "this is the transpose: what reverse mode returns is a row of J": J.T,
                "the shape must be (m, n), even if m is 1": J[0],
            },
        )


def test_with_few_inputs_the_jacobian_is_computed_by_columns(answer, rng):
    for n, m in [(3, 7), (1, 4)]:
        J = rng.normal(size=(m, n))
        jvp, vjp = given("jvp", J, n), given("vjp", J, 0)
        expect(
            answer.jacobian(jvp, vjp, n, m),
            J,
            mistakes={
                "this is the transpose: what forward mode returns is a column of J": J.T,
                "the shape must be (m, n), even if n is 1": J[:, 0],
            },
        )


RIGHT = "a right pair of functions is called wrong"
ONE_SIDED = "the difference may be negative: take its size"


def check_agreement(answer, J, K, want, mistake):
    """Check the answer for a jvp of J and a vjp of K; a wrong pair may pass by luck, so often."""
    for sign in (1,) if want else (1, -1) * 4:
        jvp, vjp = given("jvp", sign * J), given("vjp", sign * K)
        expect(
            answer.modes_agree(jvp, vjp, *J.shape[::-1]),
            want,
            mistakes={
                ONE_SIDED: lambda: not want if not want and one_sided(answer) else None,
                mistake: not want,
            },
        )


def one_sided(answer):
    """Whether vjps of half and of twice the size pass or not as the vectors are drawn.

    They do if a negative difference counts as a small one; in other answers both fail, or both
    pass.
    """
    J = np.array([[300.0, -200.0, 500.0], [100.0, 700.0, -400.0]])
    pairs = [(given("jvp", J), given("vjp", factor * J)) for factor in (0.5, 2.0) * 8]
    return len({str(answer.modes_agree(jvp, vjp, 3, 2)) for jvp, vjp in pairs}) > 1


def test_a_forgotten_transpose_is_found(answer):
    J = np.array([[1.0, 2.0], [3.0, 4.0]])
    check_agreement(answer, J, J, True, RIGHT)
    equal = "with u equal to v a forgotten transpose passes: draw two different vectors"
    check_agreement(answer, J, J.T, False, equal)


def test_a_wrong_sign_or_factor_is_found(answer, rng):
    J = rng.normal(size=(5, 7))
    check_agreement(answer, J, J, True, RIGHT)
    check_agreement(answer, J, -J, False, "the sign is lost: compare numbers, not their sizes")
    check_agreement(answer, J, J * (1 + 1e-6), False, "the tolerance is too wide for nine digits")


def test_one_wrong_number_among_many_is_found(answer, rng):
    J = rng.normal(size=(6, 4))
    check_agreement(answer, J, J, True, RIGHT)
    for row, column in [(0, 0), (5, 3), (2, 1)]:
        wrong = J.copy()
        wrong[row, column] += 0.5
        check_agreement(answer, J, wrong, False, "a vector with zeros does not test every number")


def test_tiny_and_huge_derivatives_are_judged_by_relative_size(answer, rng):
    J = rng.normal(size=(3, 5))
    tiny = "the tolerance is absolute: tiny numbers pass"
    huge = "the tolerance is absolute: huge ones fail"
    check_agreement(answer, 1e-12 * J, -1e-12 * J, False, tiny)
    check_agreement(answer, 1e12 * J, 1e12 * J, True, huge)
    check_agreement(answer, 1e-12 * J, 1e-12 * J, True, RIGHT)


def test_one_call_of_each_function_is_enough(answer, rng):
    J = rng.normal(size=(8, 9))
    jvp, vjp = given("jvp", J, 1), given("vjp", J, 1)
    expect(answer.modes_agree(jvp, vjp, 9, 8), True)
    jvp, vjp = given("jvp", J, 1), given("vjp", 2 * J, 1)
    expect(answer.modes_agree(jvp, vjp, 9, 8), False)


def nearly(got, want):
    """Return got if it is close to the right answer, as a finite difference is."""
    close = isinstance(got, np.ndarray) and got.shape == want.shape
    return got if close and np.allclose(got, want, rtol=1e-3, atol=1e-3) else None


def test_one_product_in_the_valley_by_hand(answer):
    w, v = np.array([1.0, 2.0]), np.array([1.0, 3.0])  # where H = [[82, -80], [-80, 40]]
    want = np.array([-158.0, 40.0])
    got = answer.hvp(given("valley_gradient"), w, v)
    expect(
        got,
        want,
        mistakes={
            "this is the gradient: take the tangents of the result, not its values": (
                np.array([-80.0, 40.0])
            ),
            "the direction is left out: each w[i] moves at the speed v[i], not at 1": (
                np.array([2.0, -40.0])
            ),
            "only the diagonal of the Hessian is used: all of w must move at once": (
                np.array([82.0, 120.0])
            ),
            "this is a finite difference, and digits are lost": lambda: nearly(got, want),
        },
        tolerance=1e-12,
    )


def polynomial_hessian(factors, powers, w):
    n = len(w)
    H = np.zeros((n, n))
    for factor, power in zip(factors, powers):
        for i in range(n):
            for j in range(n):
                lowered = power - np.eye(n, dtype=int)[i]
                count = power[i] * lowered[j]
                lowered = lowered - np.eye(n, dtype=int)[j]
                H[i, j] += factor * count * np.prod(w ** np.maximum(lowered, 0))
    return H


POWERS = np.array([[2, 1, 0, 0], [0, 3, 1, 0], [1, 1, 1, 1], [0, 0, 0, 1], [0, 2, 0, 2]])


def test_the_product_agrees_with_the_whole_hessian_of_a_polynomial(answer, rng):
    factors, w, v = rng.normal(size=5), rng.normal(size=4), rng.normal(size=4)
    H = polynomial_hessian(factors, POWERS, w)
    got = answer.hvp(given("polynomial_gradient", factors, POWERS), w, v)
    expect(
        got,
        H @ v,
        mistakes={
            "the direction is left out: each w[i] moves at the speed v[i], not at 1": H.sum(axis=1),
            "only the diagonal of the Hessian is used: all of w must move at once": np.diag(H) * v,
            "this is a finite difference, and digits are lost": lambda: nearly(got, H @ v),
        },
        tolerance=1e-12,
    )


def test_one_pass_through_the_gradient_is_enough(answer, rng):
    factors, w, v = rng.normal(size=5), rng.normal(size=4), rng.normal(size=4)
    want = polynomial_hessian(factors, POWERS, w) @ v
    expect(answer.hvp(given("polynomial_gradient", factors, POWERS, 1), w, v), want)


def test_a_slope_that_never_changes_has_a_product_of_zero(answer, rng):
    factors, w, v = rng.normal(size=3), rng.normal(size=3), rng.normal(size=3)
    powers = np.array([[2, 0, 0], [1, 1, 0], [0, 0, 1]])  # the last slope is a plain number
    want = np.array([2 * factors[0] * v[0] + factors[1] * v[1], factors[1] * v[0], 0.0])
    expect(
        answer.hvp(given("polynomial_gradient", factors, powers), w, v),
        want,
        mistakes={
            "a plain number does not move: its tangent is 0": np.array([*want[:2], factors[2]]),
        },
    )


def symmetric(rng, curvatures):
    """Return a Hessian with the given curvatures, and their directions as columns."""
    directions, _ = np.linalg.qr(rng.normal(size=(len(curvatures), len(curvatures))))
    return directions @ np.diag(curvatures) @ directions.T, directions


def after_rounds(curvatures, directions, v, rounds):
    """Return what power iteration arrives at: each direction grows by its own curvature."""
    parts = directions.T @ v
    before, after = parts * curvatures ** (rounds - 1), parts * curvatures**rounds
    return before @ after / (before @ before), directions @ after / np.sqrt(after @ after)


LENGTH = "this is the length of H v: c is ⟨v, Hv⟩ with the v from before the product"


def test_one_and_two_rounds_of_power_iteration_by_hand(answer):
    H, v = np.diag([3.0, 1.0]), np.array([1.0, 1.0])
    expect(
        answer.largest_curvature(given("hessian_product", H), v, 1),
        (2.0, np.array([3.0, 1.0]) / np.sqrt(10)),
        mistakes={
            "v is not scaled to length one before the curvature is read": (
                4.0,
                np.array([3.0, 1.0]) / np.sqrt(10),
            ),
            LENGTH: (
                np.sqrt(5),
                np.array([3.0, 1.0]) / np.sqrt(10),
            ),
            "the last product is not scaled to length one": (
                2.0,
                np.array([3.0, 1.0]) / np.sqrt(2),
            ),
            "the direction returned is one product behind": (2.0, v / np.sqrt(2)),
        },
    )
    expect(
        answer.largest_curvature(given("hessian_product", H), v, 2),
        (2.8, np.array([9.0, 1.0]) / np.sqrt(82)),
        mistakes={
            "each round starts from the same v: go on with the product": (
                2.0,
                np.array([3.0, 1.0]) / np.sqrt(10),
            ),
            "the direction returned is one product behind": (
                2.8,
                np.array([3.0, 1.0]) / np.sqrt(10),
            ),
        },
    )


def test_after_many_rounds_the_largest_curvature_has_taken_over(answer, rng):
    curvatures = np.array([1e9, 4e8, 3e8, -2e8, 1e8])
    H, directions = symmetric(rng, curvatures)
    v = directions.sum(axis=1)
    want = (1e9, directions[:, 0])
    expect(answer.largest_curvature(given("hessian_product", H), v, 60), want)


def test_the_largest_curvature_may_be_negative(answer, rng):
    curvatures = np.array([-5.0, 3.0, 2.0, 0.5])
    H, directions = symmetric(rng, curvatures)
    v = rng.normal(size=4)
    for rounds in (3, 4):
        _, before = after_rounds(curvatures, directions, v, rounds - 1)
        c, direction = after_rounds(curvatures, directions, v, rounds)
        expect(
            answer.largest_curvature(given("hessian_product", H), v, rounds),
            (c, direction),
            mistakes={
                "the sign of the curvature is lost": (abs(c), direction),
                LENGTH: (np.linalg.norm(H @ before), direction),
            },
        )


def test_a_matrix_of_weights_has_a_matrix_as_direction_and_one_product_a_round(answer, rng):
    curvatures = np.array([6.0, 5.0, 3.0, 2.0, 1.0, 0.5])
    H, directions = symmetric(rng, curvatures)
    v = rng.normal(size=(2, 3))
    c, direction = after_rounds(curvatures, directions, v.ravel(), 5)
    expect(
        answer.largest_curvature(given("product_for_rounds", H, 5), v, 5),
        (c, direction.reshape(2, 3)),
    )


def test_one_newton_step_in_a_bowl_by_hand(answer):
    H, gradient = np.diag([1.0, 3.0]), np.array([-1.0, -1.0])
    expect(
        answer.newton_step(given("hessian_product", H), gradient, 0.8),
        np.array([0.5, 0.5]),
        mistakes={
            "the step goes uphill: it must solve H p = −gradient": np.array([-0.5, -0.5]),
            "the first turn already brings the rest below the tolerance: stop there": (
                np.array([1.0, 1 / 3])
            ),
        },
    )
    expect(
        answer.newton_step(given("hessian_product", H), gradient, 0.3),
        np.array([1.0, 1 / 3]),
        mistakes={
            "the new direction is the rest alone: the old direction must live on in it": (
                np.array([0.75, 0.25])
            ),
            "rest and d are one array here: changing one in place changes both": (
                np.array([0.7, 0.3])
            ),
        },
    )


def test_the_newton_step_solves_the_equation(answer, rng):
    H, _ = symmetric(rng, np.array([0.5, 1.0, 2.0, 4.0, 7.0, 9.0]))
    gradient = rng.normal(size=6)
    want = np.linalg.solve(H, -gradient)
    expect(
        answer.newton_step(given("hessian_product", H), gradient, 1e-10),
        want,
        mistakes={"the step goes uphill: it must solve H p = −gradient": -want},
        tolerance=1e-7,
    )


def test_three_different_curvatures_take_three_products(answer, rng):
    H, _ = symmetric(rng, np.repeat([1.0, 3.0, 10.0], [9, 10, 11]))
    gradient = rng.normal(size=30)
    expect(
        answer.newton_step(given("product_for_turns", H, 3), gradient, 1e-8),
        np.linalg.solve(H, -gradient),
        tolerance=1e-6,
    )


def test_the_newton_step_for_a_matrix_of_weights_is_a_matrix(answer, rng):
    H, _ = symmetric(rng, np.array([0.5, 1.0, 2.0, 4.0, 7.0, 9.0]))
    gradient = rng.normal(size=(3, 2))
    expect(
        answer.newton_step(given("hessian_product", H), gradient, 1e-10),
        np.linalg.solve(H, -gradient.ravel()).reshape(3, 2),
        tolerance=1e-7,
    )


def test_the_tolerance_is_relative_to_the_gradient_and_a_zero_gradient_needs_no_step(answer, rng):
    H, _ = symmetric(rng, np.array([1.0, 2.0, 4.0, 5.0]))
    gradient = 1e-11 * rng.normal(size=4)
    got = answer.newton_step(given("hessian_product", H), gradient, 1e-10)
    zero = np.zeros(4) if np.array_equal(got, np.zeros(4)) else None  # exactly: all here is tiny
    expect(
        got,
        np.linalg.solve(H, -gradient),
        mistakes={"the tolerance is absolute: beside a small gradient it stops too soon": zero},
        tolerance=1e-7,
    )
    expect(answer.newton_step(given("hessian_product", H), np.zeros(4), 1e-10), np.zeros(4))


def network_products(W1, W2, V1, V2, X, Y):
    """Return H v for the network from its whole Hessian, and the answers of known mistakes.

    The Hessian is written out entry by entry, in two parts: G from products of first derivatives
    of the outputs, C from the error times their second derivatives. With i, j inputs, p, q hidden
    units and k, l outputs, the weights are W1[i, p] and W2[p, k].
    """
    A = np.tanh(np.einsum("bi,ip->bp", X, W1))  # (B, D2)
    s, s_prime = 1 - A**2, -2 * A * (1 - A**2)  # first and second derivative of tanh
    E = np.einsum("bp,pk->bk", A, W2) - Y  # (B, D3)
    B, same = len(X), np.eye(len(W2))  # same[p, q]: is it the same hidden unit?
    G11 = np.einsum("bi,bp,pk,bj,bq,qk->ipjq", X, s, W2, X, s, W2, optimize=True) / B
    C11 = np.einsum("bk,bi,bj,bp,pk,pq->ipjq", E, X, X, s_prime, W2, same, optimize=True) / B
    G12 = np.einsum("bi,bp,pk,bq->ipqk", X, s, W2, A, optimize=True) / B
    C12 = np.einsum("bk,bi,bp,pq->ipqk", E, X, s, same, optimize=True) / B
    G22 = np.einsum("bp,bq,kl->pkql", A, A, np.eye(Y.shape[1]), optimize=True) / B

    def product(c11=1, c12=1, c21=1):
        H12, H21 = G12 + c12 * C12, G12 + c21 * C12
        return (
            np.einsum("ipjq,jq->ip", G11 + c11 * C11, V1) + np.einsum("ipqk,qk->ip", H12, V2),
            np.einsum("ipqk,ip->qk", H21, V1) + np.einsum("pkql,ql->pk", G22, V2),
        )

    want = product()
    return want, {
        "the tangent of 1 − A ∘ A is left out": product(c11=0),
        "dA has a second tangent: W2 moves too": product(c12=0),
        "dW2 has a second tangent: A moves too": product(c21=0),
        "only the error moves: this is the Gauss-Newton product": product(0, 0, 0),
        "the error is summed over the batch, not averaged": tuple(B * part for part in want),
        "the two parts have changed places": want[::-1],
    }


def test_one_network_product_by_hand(answer):
    W1, W2 = np.array([[0.0]]), np.array([[3.0]])  # tanh(0) = 0, with slope 1
    X, Y = np.array([[2.0]]), np.array([[1.0]])  # where H = [[36, -2], [-2, 0]]
    V1, V2 = np.array([[1.0]]), np.array([[5.0]])
    expect(
        answer.network_hvp(W1, W2, V1, V2, X, Y),
        (np.array([[26.0]]), np.array([[-2.0]])),
        mistakes=network_products(W1, W2, V1, V2, X, Y)[1],
    )


def random_network(rng):
    shapes = {"W1": (4, 3), "W2": (3, 2), "V1": (4, 3), "V2": (3, 2), "X": (5, 4), "Y": (5, 2)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def test_the_network_product_where_only_the_first_layer_moves(answer, rng):
    numbers = random_network(rng) | {"V2": np.zeros((3, 2))}
    want, mistakes = network_products(**numbers)
    expect(answer.network_hvp(*numbers.values()), want, mistakes=mistakes)


def test_the_network_product_where_only_the_second_layer_moves(answer, rng):
    numbers = random_network(rng) | {"V1": np.zeros((4, 3))}
    want, mistakes = network_products(**numbers)
    expect(answer.network_hvp(*numbers.values()), want, mistakes=mistakes)


def test_the_network_product_where_both_layers_move(answer, rng):
    numbers = random_network(rng)
    want, mistakes = network_products(**numbers)
    expect(answer.network_hvp(*numbers.values()), want, mistakes=mistakes)


def test_the_network_product_agrees_with_differences_of_a_gradient(answer, rng):
    numbers = random_network(rng)
    W1, W2, V1, V2, X, Y = numbers.values()

    def gradient(W1, W2):  # the risk's own, by moving one weight at a time along i (i² = −1)
        def risk(W1, W2):
            return np.sum((np.tanh(X @ W1) @ W2 - Y) ** 2) / (2 * len(X))

        parts = np.zeros(W1.shape), np.zeros(W2.shape)
        for k, part in enumerate(parts):
            for place in np.ndindex(part.shape):
                moved = [W1.astype(complex), W2.astype(complex)]
                moved[k][place] += 1e-30j
                part[place] = risk(*moved).imag / 1e-30
        return parts

    h = 1e-5
    ahead, behind = gradient(W1 + h * V1, W2 + h * V2), gradient(W1 - h * V1, W2 - h * V2)
    want = tuple((a - b) / (2 * h) for a, b in zip(ahead, behind))
    expect(answer.network_hvp(*numbers.values()), want, tolerance=1e-6)
