"""What each transform promises: its arguments, what it returns, and in which structure."""

import collections
import gc
import tracemalloc

import numpy as np
import pytest
from checking import (
    assert_close,
    directional_difference,
    directions,
    hessian_by_differences,
    jacobian_by_differences,
)

import minigrad as mg

W = np.array([[0.4, -1.2, 0.7], [1.1, 0.3, -0.6]])
X = np.array([0.9, -0.5, 1.3])
B = np.array([0.2, -0.8])


def loss(w, x, b):
    return mg.sum(mg.tanh(mg.matmul(w, x) + b) ** 2)


def loss_gradients():
    """The gradients of `loss` at (W, X, B), by hand."""
    t = np.tanh(W @ X + B)
    g = 2 * t * (1 - t**2)
    return np.outer(g, X), W.T @ g, g


def numpy_loss(w, x, b):
    return np.sum(np.tanh(w @ x + b) ** 2)


def placed(xp, *arrays):
    return tuple(xp.array(array) for array in arrays)


def is_array(value, xp):
    return isinstance(value, (xp.ndarray, np.generic)) and not isinstance(value, mg.Tensor)


# grad and value_and_grad


def test_grad_differentiates_the_first_argument_by_default(xp):
    w, x, b = placed(xp, W, X, B)
    assert_close(mg.grad(loss)(w, x, b), loss_gradients()[0])


@pytest.mark.parametrize("argnums", [0, 1, 2, -1, (0,), (2, 0), (1, 2), (0, 1, 2)])
def test_argnums_choose_which_gradients_come_back_and_in_which_order(argnums, xp):
    found = mg.grad(loss, argnums=argnums)(*placed(xp, W, X, B))
    expected = loss_gradients()
    if isinstance(argnums, int):
        assert_close(found, expected[argnums])
    else:
        assert isinstance(found, tuple)
        assert len(found) == len(argnums)
        for each, i in zip(found, argnums, strict=True):
            assert_close(each, expected[i])


def test_value_and_grad_returns_both_from_one_call_of_the_function(xp):
    calls = []

    def counted(w, x, b):
        calls.append(1)
        return loss(w, x, b)

    value, (dw, db) = mg.value_and_grad(counted, argnums=(0, 2))(*placed(xp, W, X, B))
    assert_close(value, numpy_loss(W, X, B))
    assert_close(dw, loss_gradients()[0])
    assert_close(db, loss_gradients()[2])
    assert len(calls) == 1


@pytest.mark.parametrize(
    "f", [lambda x, y: (x + y) * 3.0, lambda x, y: x - y, lambda x, y: x[::-1] + y]
)
def test_gradients_of_two_arguments_do_not_share_memory(f, xp):
    """Scaling one of them in place must leave the other alone."""
    x, y = placed(xp, X, X * 2)
    dx, dy = mg.grad(lambda x, y: mg.sum(f(x, y) * 2.0), argnums=(0, 1))(x, y)
    before = _host(dy).copy()
    dx *= 10.0
    np.testing.assert_array_equal(_host(dy), before)
    seed = xp.array(X)
    dx, dy = mg.vjp(f, x, y)[1](seed)
    dx *= 10.0
    dy *= 10.0
    np.testing.assert_array_equal(_host(seed), X)


def test_keyword_arguments_are_handed_on_undifferentiated(xp):
    def scaled(x, *, scale, negate=False):
        total = mg.sum(x * x) * scale
        return -total if negate else total

    (x,) = placed(xp, X)
    assert_close(mg.grad(scaled)(x, scale=3.0, negate=True), -6 * X)
    value, gradient = mg.value_and_grad(scaled)(x, scale=0.5)
    assert_close(value, 0.5 * np.sum(X**2))
    assert_close(gradient, X)


def test_an_argument_that_is_no_array_is_handed_on_as_it_is(xp):
    def chosen(x, name):
        assert name == "square"
        return mg.sum(x**2)

    assert_close(mg.grad(chosen)(*placed(xp, X), "square"), 2 * X)


def test_the_gradient_of_an_unused_argument_is_zero_of_its_shape_and_dtype(xp):
    dw, dx = mg.grad(lambda w, x: mg.sum(x**2), argnums=(0, 1))(*placed(xp, W, X))
    assert_close(dw, np.zeros((2, 3)))
    assert dw.dtype == np.float64
    assert_close(dx, 2 * X)


def test_the_gradient_of_a_constant_function_is_zero(xp):
    (x,) = placed(xp, X)
    assert_close(mg.grad(lambda x: mg.tensor(xp.asarray(2.5)))(x), np.zeros(3))


def test_arrays_in_give_arrays_out_for_every_transform(xp):
    w, x, b = placed(xp, W, X, B)

    def f(x):
        return mg.sum(mg.sin(x) * x)

    def vector(x):
        return mg.sin(x) * x

    out, pullback = mg.vjp(vector, x)
    linear_out, f_jvp = mg.linearize(vector, x)
    results = [
        mg.grad(f)(x),
        *mg.value_and_grad(f)(x),
        out,
        pullback(x)[0],
        *mg.jvp(vector, (x,), (x,)),
        linear_out,
        f_jvp(x),
        mg.jacobian(vector)(x),
        mg.jacobian(vector, mode="forward")(x),
        mg.hessian(f)(x),
        *mg.hvp(f, (x,), (x,)),
        mg.checkpoint(vector)(x),
        mg.sin(x),
        mg.matmul(w, x) + b,
    ]
    for i, result in enumerate(results):
        assert is_array(result, xp), f"result {i} is a {type(result).__name__}"


def test_any_tensor_in_gives_tensors_out_for_every_transform(xp):
    (x,) = (mg.tensor(array) for array in placed(xp, X))
    (array,) = placed(xp, X)

    def f(x):
        return mg.sum(mg.sin(x) * x)

    def two(x, y):
        return mg.sum(mg.sin(x) * y)

    def vector(x):
        return mg.sin(x) * x

    out, pullback = mg.vjp(vector, x)
    linear_out, f_jvp = mg.linearize(vector, x)
    results = [
        mg.grad(f)(x),
        *mg.value_and_grad(f)(x),
        *mg.grad(two, argnums=(0, 1))(array, x),
        out,
        pullback(x)[0],
        *mg.jvp(vector, (x,), (x,)),
        linear_out,
        f_jvp(x),
        mg.jacobian(vector)(x),
        mg.jacobian(vector, mode="forward")(x),
        mg.hessian(f)(x),
        *mg.hvp(f, (x,), (x,)),
        mg.checkpoint(vector)(x),
        mg.sin(x),
        mg.add(array, x),
    ]
    for i, result in enumerate(results):
        assert isinstance(result, mg.Tensor), f"result {i} is a {type(result).__name__}"


def test_the_function_always_receives_tensors(xp):
    (x,) = placed(xp, X)
    seen = []

    def f(x, y):
        seen.append((type(x), type(y["a"])))
        return mg.sum(x * y["a"])

    mg.grad(f)(x, {"a": x})
    mg.vjp(f, x, {"a": x})
    mg.jvp(f, (x, {"a": x}), (x, {"a": x}))
    mg.checkpoint(f)(x, {"a": x})
    assert all(issubclass(kind, mg.Tensor) for pair in seen for kind in pair)
    assert len(seen) == 4


# Nested structures


def parameters(xp):
    return {
        "layers": [
            {"w": xp.asarray(W), "b": xp.asarray(B)},
            {"w": xp.asarray(W.T.copy()), "b": xp.asarray(X)},
        ],
        "scale": (xp.asarray(0.7), xp.asarray(np.array([1.5, -2.5]))),
    }


def network(tree, x):
    for layer in tree["layers"]:
        x = mg.tanh(mg.matmul(layer["w"], x) + layer["b"])
    gain, mixture = tree["scale"]
    return gain * mg.sum(x**2) + mg.sum(mixture**3)


def test_gradients_of_nested_dicts_lists_and_tuples_keep_their_structure(xp):
    tree = parameters(xp)
    x = xp.asarray(X)
    gradient = mg.grad(network)(tree, x)
    assert list(gradient) == ["layers", "scale"]
    assert isinstance(gradient["layers"], list)
    assert isinstance(gradient["scale"], tuple)
    hidden = np.tanh(W @ X + B)
    out = np.tanh(W.T @ hidden + X)
    d_out = 0.7 * 2 * out * (1 - out**2)
    d_hidden = (W @ d_out) * (1 - hidden**2)
    assert_close(gradient["layers"][1]["w"], np.outer(d_out, hidden))
    assert_close(gradient["layers"][1]["b"], d_out)
    assert_close(gradient["layers"][0]["w"], np.outer(d_hidden, X))
    assert_close(gradient["layers"][0]["b"], d_hidden)
    assert_close(gradient["scale"][0], np.sum(out**2))
    assert_close(gradient["scale"][1], 3 * np.array([1.5, -2.5]) ** 2)


def test_jvp_and_hvp_take_and_return_nested_structures(xp):
    tree, x = parameters(xp), xp.asarray(X)
    tangent = parameters(xp)
    tangent["scale"] = (xp.asarray(-0.3), xp.asarray(np.array([0.25, 2.0])))
    value, pushed = mg.jvp(lambda tree: network(tree, x), (tree,), (tangent,))
    gradient = mg.grad(network)(tree, x)
    assert_close(value, mg.value_and_grad(network)(tree, x)[0])

    def flat(tree):
        layers = [layer[key] for layer in tree["layers"] for key in ("w", "b")]
        return [*layers, *tree["scale"]]

    expected = sum(
        np.sum(np.asarray(_host(g) * _host(t)))
        for g, t in zip(flat(gradient), flat(tangent), strict=True)
    )
    assert_close(pushed, expected)
    (product,) = mg.hvp(lambda tree: network(tree, x), (tree,), (tangent,))
    assert list(product) == ["layers", "scale"]
    assert isinstance(product["layers"], list)
    assert isinstance(product["scale"], tuple)
    assert_close(product["scale"][1], 6 * np.array([1.5, -2.5]) * np.array([0.25, 2.0]))


def _host(array):
    return array.get() if hasattr(array, "get") else np.asarray(array)


def test_hvp_of_several_primals_returns_a_tuple_like_them(xp):
    w, x, b = placed(xp, W, X, B)
    tangents = placed(xp, W * 0.3 + 1, X - 0.5, B * B)
    products = mg.hvp(loss, (w, x, b), tangents)
    assert isinstance(products, tuple)
    assert len(products) == 3
    gradient = mg.grad(loss, argnums=(0, 1, 2))
    _, pushed = mg.jvp(gradient, (w, x, b), tangents)
    for product, expected, primal in zip(products, pushed, (W, X, B), strict=True):
        assert product.shape == primal.shape
        assert_close(product, expected)


def test_functions_may_return_nested_structures_under_vjp_jvp_and_linearize(xp):
    x, y = placed(xp, X, np.array([0.5, 2.0, -1.0]))

    def f(x, y):
        return {"product": x * y, "parts": [mg.sin(x), (y**2, mg.sum(x))]}

    out, pullback = mg.vjp(f, x, y)
    assert_close(out["parts"][1][0], np.array([0.25, 4.0, 1.0]))
    g = {"product": x, "parts": [x, (x, xp.asarray(2.0))]}
    dx, dy = pullback(g)
    Y = np.array([0.5, 2.0, -1.0])
    assert_close(dx, X * Y + np.cos(X) * X + 2.0)
    assert_close(dy, X * X + 2 * Y * X)
    out, pushed = mg.jvp(f, (x, y), (y, x))
    assert_close(pushed["product"], Y * Y + X * X)
    assert_close(pushed["parts"][0], np.cos(X) * Y)
    assert_close(pushed["parts"][1][0], 2 * Y * X)
    assert_close(pushed["parts"][1][1], np.sum(Y))
    _, f_jvp = mg.linearize(f, x, y)
    again = f_jvp(y, x)
    assert_close(again["product"], Y * Y + X * X)
    assert_close(again["parts"][1][1], np.sum(Y))


# vjp, jvp, linearize


def test_vjp_returns_the_value_and_one_cotangent_per_primal(xp):
    w, x, b = placed(xp, W, X, B)
    out, pullback = mg.vjp(lambda w, x, b: mg.matmul(w, x) * b, w, x, b)
    assert_close(out, (W @ X) * B)
    g = np.array([1.5, -0.25])
    dw, dx, db = pullback(xp.asarray(g))
    assert_close(dw, np.outer(g * B, X))
    assert_close(dx, W.T @ (g * B))
    assert_close(db, g * (W @ X))


def test_a_pullback_can_be_called_again_with_another_cotangent(xp):
    x = xp.asarray(X)
    _, pullback = mg.vjp(lambda x: mg.exp(x) * x, x)
    slope = np.exp(X) * (1 + X)
    for g in (X, X * 0.5 + 1, X):
        assert_close(pullback(xp.asarray(g))[0], slope * g)


def test_jvp_is_the_directional_derivative_along_all_tangents_at_once(xp):
    rng = np.random.default_rng(3)
    point, tangent = [W, X, B], directions(rng, [W, X, B])
    _, pushed = mg.jvp(loss, placed(xp, *point), placed(xp, *tangent))
    expected = directional_difference(numpy_loss, point, tangent)
    np.testing.assert_allclose(_host(pushed), expected, rtol=1e-9)


def test_linearize_replays_without_calling_the_function_again(xp):
    calls = []

    def f(x):
        calls.append(1)
        return mg.sin(x) * mg.sum(x**2)

    x = xp.asarray(X)
    out, f_jvp = mg.linearize(f, x)
    assert_close(out, np.sin(X) * np.sum(X**2))
    for tangent in (np.array([1.0, 0.0, 0.0]), np.array([0.5, -2.0, 3.0]), X):
        expected = np.cos(X) * tangent * np.sum(X**2) + np.sin(X) * 2 * np.sum(X * tangent)
        assert_close(f_jvp(xp.asarray(tangent)), expected)
    assert len(calls) == 1


def test_a_linearized_function_is_linear(xp):
    x = xp.asarray(X)
    _, f_jvp = mg.linearize(lambda x: mg.softmax(x) * x[0], x)
    u, v = np.array([0.3, -1.0, 0.8]), np.array([2.0, 0.1, -0.4])
    together = _host(f_jvp(xp.asarray(2.0 * u - 3.0 * v)))
    apart = 2.0 * _host(f_jvp(xp.asarray(u))) - 3.0 * _host(f_jvp(xp.asarray(v)))
    assert_close(together, apart)


# jacobian and hessian


def curved(x):
    return mg.stack([x[0] * x[1], mg.sin(x[2]) * x[0], mg.exp(x[1]), x[2] ** 3 / x[0]])


def numpy_curved(x):
    return np.array([x[0] * x[1], np.sin(x[2]) * x[0], np.exp(x[1]), x[2] ** 3 / x[0]])


def test_both_modes_of_jacobian_agree_with_finite_differences(xp):
    expected = jacobian_by_differences(numpy_curved, X)
    for mode in ("reverse", "forward"):
        found = mg.jacobian(curved, mode=mode)(xp.asarray(X))
        np.testing.assert_allclose(_host(found), expected, rtol=1e-8, atol=1e-9, err_msg=mode)
    reverse, forward = (mg.jacobian(curved, mode=m)(xp.asarray(X)) for m in ("reverse", "forward"))
    assert_close(reverse, forward)


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_a_jacobian_has_the_shape_of_the_output_then_of_the_input(mode, xp):
    def f(w, x):
        return mg.matmul(w, x) * mg.sum(w, axis=1)

    dw, dx = mg.jacobian(f, argnums=(0, 1), mode=mode)(*placed(xp, W, X))
    expected_w = np.einsum("ab,c->abc", np.diag(W.sum(1)), X) + np.einsum(
        "ab,c->abc", np.diag(W @ X), np.ones(3)
    )
    assert_close(dw, expected_w)
    assert_close(dx, W * W.sum(1)[:, None])


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_the_jacobian_of_a_scalar_function_is_its_gradient(mode, xp):
    found = mg.jacobian(loss, argnums=1, mode=mode)(*placed(xp, W, X, B))
    assert_close(found, loss_gradients()[1])


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_the_jacobian_of_an_empty_output_or_input_is_empty(mode, xp):
    none = xp.asarray(np.zeros((0, 2)))
    assert mg.jacobian(lambda x: x * 2.0, mode=mode)(none).shape == (0, 2, 0, 2)
    x = xp.asarray(X)
    assert mg.jacobian(lambda x: x[:0], mode=mode)(x).shape == (0, 3)


def test_the_hessian_is_symmetric_and_matches_finite_differences(xp):
    def f(x):
        return mg.sum(mg.sin(x[0] * x) * x[1]) + x[2] ** 4

    def reference(x):
        return np.sum(np.sin(x[0] * x) * x[1]) + x[2] ** 4

    hessian = _host(mg.hessian(f)(xp.asarray(X)))
    assert_close(hessian, hessian.T)
    np.testing.assert_allclose(hessian, hessian_by_differences(reference, X), atol=1e-6)


def test_hvp_is_the_hessian_times_the_vector_without_the_hessian(xp):
    def f(x):
        return mg.sum(mg.exp(x) * x[0]) + x[1] ** 3 * x[2]

    x, v = xp.asarray(X), np.array([0.5, -1.5, 2.0])
    (product,) = mg.hvp(f, (x,), (xp.asarray(v),))
    assert_close(product, _host(mg.hessian(f)(x)) @ v)
    assert product.shape == (3,)


def test_hvp_evaluates_the_function_once(xp):
    calls = []

    def f(x):
        calls.append(1)
        return mg.sum(x**3)

    mg.hvp(f, (xp.asarray(X),), (xp.asarray(X),))
    assert len(calls) == 1


# checkpoint


def test_checkpoint_gives_the_same_value_and_gradient(xp):
    args = placed(xp, W, X, B)
    plain = mg.value_and_grad(loss, argnums=(0, 1, 2))(*args)
    recomputed = mg.value_and_grad(mg.checkpoint(loss), argnums=(0, 1, 2))(*args)
    assert_close(recomputed[0], plain[0])
    for mine, theirs in zip(recomputed[1], plain[1], strict=True):
        np.testing.assert_array_equal(_host(mine), _host(theirs))


def test_checkpoint_recomputes_once_when_walked_and_not_before(xp):
    calls = []

    def f(x):
        calls.append(1)
        return mg.sum(mg.tanh(x) ** 2)

    x = mg.tensor(xp.asarray(X), requires_grad=True)
    out = mg.checkpoint(f)(x)
    assert len(calls) == 1
    out.backward()
    assert len(calls) == 2
    t = np.tanh(X)
    assert_close(x.grad, 2 * t * (1 - t**2))


def test_checkpoint_does_not_recompute_what_nobody_differentiates(xp):
    calls = []

    def f(x):
        calls.append(1)
        return mg.exp(x)

    assert_close(mg.checkpoint(f)(xp.asarray(X)), np.exp(X))
    assert len(calls) == 1


def test_checkpoint_draws_the_same_dropout_again(xp):
    x = xp.asarray(np.linspace(0.5, 2.0, 200))

    def f(x):
        return mg.sum(mg.dropout(mg.sin(x), p=0.4) ** 2)

    mg.manual_seed(11)
    plain = mg.value_and_grad(f)(x)
    mg.manual_seed(11)
    recomputed = mg.value_and_grad(mg.checkpoint(f))(x)
    assert_close(recomputed[0], plain[0])
    np.testing.assert_array_equal(_host(recomputed[1]), _host(plain[1]))
    kept = _host(plain[1]) != 0
    assert 0.4 < kept.mean() < 0.8


def test_recomputation_does_not_disturb_later_random_draws(xp):
    x = xp.asarray(np.linspace(0.5, 2.0, 50))

    def f(x):
        return mg.sum(mg.dropout(x, p=0.5))

    def next_draw(wrap):
        mg.manual_seed(5)
        mg.grad(wrap(f))(x)
        return _host(mg.dropout(x, p=0.5))

    np.testing.assert_array_equal(next_draw(mg.checkpoint), next_draw(lambda f: f))


def test_checkpoint_sees_closed_over_tensors(xp):
    w = mg.tensor(xp.asarray(B), requires_grad=True)
    x = mg.tensor(xp.asarray(B * 2), requires_grad=True)
    mg.checkpoint(lambda x: mg.sum(w * x**2))(x).backward()
    assert_close(w.grad, (2 * B) ** 2)
    assert_close(x.grad, 2 * B * 2 * B)


def test_checkpoint_takes_and_returns_nested_structures(xp):
    def f(tree, power):
        return {"a": tree["x"] ** power, "b": [mg.sum(tree["y"])]}

    def total(tree):
        out = mg.checkpoint(f)(tree, 3)
        return mg.sum(out["a"]) * out["b"][0]

    tree = {"x": xp.asarray(X), "y": xp.asarray(B)}
    gradient = mg.grad(total)(tree)
    assert_close(gradient["x"], 3 * X**2 * B.sum())
    assert_close(gradient["y"], np.full(2, np.sum(X**3)))


def test_nested_checkpoints_give_the_same_gradient(xp):
    def stage(x):
        return mg.tanh(x) * x

    def two_stages(x):
        return mg.checkpoint(stage)(mg.checkpoint(stage)(x))

    x = xp.asarray(X)
    plain = mg.grad(lambda x: mg.sum(stage(stage(x))))(x)
    nested = mg.grad(lambda x: mg.sum(mg.checkpoint(two_stages)(x)))(x)
    assert_close(nested, plain)


def test_checkpoint_holds_less_memory_between_forward_and_backward():
    """Ten stages of ten ops on 0.8 MB: about 80 MB are saved without checkpoint, 10 MB with it."""
    x = np.random.default_rng(0).standard_normal(100_000)

    def stage(x):
        for _ in range(10):
            x = mg.sin(x)
        return x

    def held(wrap):
        leaf = mg.tensor(x, requires_grad=True)
        gc.collect()
        tracemalloc.start()
        out = leaf
        for _ in range(10):
            out = wrap(stage)(out)
        gc.collect()
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return size

    plain, recomputed = held(lambda f: f), held(mg.checkpoint)
    assert plain > 70e6
    assert recomputed < plain / 5


def test_the_peak_memory_of_a_checkpointed_gradient_is_lower():
    x = np.random.default_rng(0).standard_normal(100_000)

    def stage(x):
        for _ in range(10):
            x = mg.sin(x)
        return x

    def peak(wrap):
        def f(x):
            for _ in range(10):
                x = wrap(stage)(x)
            return mg.sum(x)

        gc.collect()
        tracemalloc.start()
        mg.grad(f)(x)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert peak(mg.checkpoint) < peak(lambda f: f) / 2.5


# check_grads


def test_check_grads_accepts_right_rules_to_second_order():
    mg.check_grads(loss, (W, X, B), order=2)
    mg.check_grads(lambda tree: network(tree, X), (parameters(np),), order=2)
    mg.check_grads(lambda x: mg.sum(mg.softmax(x) * x), (X,), order=3)


def cubed_with(vjp_rule, jvp_rule):
    """A cube whose derivative rules are the ones given."""
    from minigrad.engine import primitive

    @primitive
    def cubed(x):
        return x * x * x

    cubed.vjp(vjp_rule)
    cubed.jvp(jvp_rule)
    return cubed


def right_rule(g, x):
    return 3.0 * g * x * x


def wrong_factor(g, x):
    return 2.0 * g * x * x


def wrong_second_order(g, x):
    """Right in value, but x enters as a constant, so that the second derivative is lost."""
    x = x.detach() if isinstance(x, mg.Tensor) else x
    return 3.0 * g * x * x


def test_check_grads_accepts_the_right_rule_of_a_new_primitive():
    mg.check_grads(cubed_with(right_rule, right_rule), (X,), order=3)


@pytest.mark.parametrize(
    ("vjp_rule", "jvp_rule", "modes"),
    [
        (wrong_factor, right_rule, ("reverse",)),
        (right_rule, wrong_factor, ("forward",)),
        (wrong_factor, right_rule, ("forward", "reverse")),
        (right_rule, wrong_factor, ("forward", "reverse")),
    ],
)
def test_check_grads_rejects_a_wrong_first_order_rule(vjp_rule, jvp_rule, modes):
    with pytest.raises(AssertionError):
        mg.check_grads(cubed_with(vjp_rule, jvp_rule), (X,), order=1, modes=modes)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_check_grads_rejects_a_rule_that_is_wrong_only_at_second_order(mode):
    rules = {
        "forward": (right_rule, wrong_second_order),
        "reverse": (wrong_second_order, right_rule),
    }
    f = cubed_with(*rules[mode])
    mg.check_grads(f, (X,), order=1, modes=(mode,))
    with pytest.raises(AssertionError):
        mg.check_grads(f, (X,), order=2, modes=(mode,))


def test_check_grads_looks_only_at_the_modes_asked_for():
    mg.check_grads(cubed_with(wrong_factor, right_rule), (X,), order=1, modes=("forward",))
    mg.check_grads(cubed_with(right_rule, wrong_factor), (X,), order=1, modes=("reverse",))


def test_check_grads_rejects_an_error_in_a_single_entry():
    from minigrad.engine import primitive

    @primitive
    def doubled(x):
        return x * 2.0

    doubled.vjp(lambda g: 2.0 * g + np.array([0.0, 0.0, 1e-2]) * g)
    doubled.jvp(lambda dx: 2.0 * dx)
    with pytest.raises(AssertionError):
        mg.check_grads(doubled, (X,), order=1, modes=("reverse",))


# The surroundings: no_grad, detect_anomaly, manual_seed, use_kernels


def test_no_grad_records_nothing(xp):
    x = mg.tensor(xp.asarray(X), requires_grad=True)
    with mg.no_grad():
        y = mg.sum(x**2)
    assert not y.requires_grad
    z = mg.sum(x**2)
    assert z.requires_grad
    z.backward()
    assert_close(x.grad, 2 * X)


def test_no_grad_ends_also_when_the_block_raises(xp):
    x = mg.tensor(xp.asarray(X), requires_grad=True)
    with pytest.raises(KeyError), mg.no_grad():
        raise KeyError("inside")
    assert (x * 2.0).requires_grad


def test_no_grad_inside_a_function_cuts_that_part_off(xp):
    def f(x):
        with mg.no_grad():
            frozen = x**2
        return mg.sum(frozen * x)

    assert_close(mg.grad(f)(xp.asarray(X)), X**2)


def test_grad_works_inside_no_grad_but_the_outer_tape_does_not_see_it(xp):
    x = mg.tensor(xp.asarray(X), requires_grad=True)
    with mg.no_grad():
        gradient = mg.grad(lambda x: mg.sum(x**3))(x)
    assert_close(gradient, 3 * X**2)
    assert not gradient.requires_grad


def test_detect_anomaly_names_the_op_and_its_input(xp):
    x = mg.tensor(xp.asarray(np.array([1.0, -2.0, 3.0])), requires_grad=True)
    with np.errstate(all="ignore"):
        assert np.isnan(_host(mg.log(x).numpy())[1])
        with mg.detect_anomaly(), pytest.raises(FloatingPointError, match=r"log.*NaN.*x.*\(3,\)"):
            mg.log(x)


def test_detect_anomaly_finds_an_infinite_gradient_and_names_the_op(xp):
    x = mg.tensor(xp.asarray(np.array([4.0, 0.0])), requires_grad=True)
    with np.errstate(all="ignore"), mg.detect_anomaly():
        y = mg.sum(mg.sqrt(x))
        with pytest.raises(FloatingPointError, match="sqrt"):
            y.backward()


def test_detect_anomaly_stays_quiet_on_finite_numbers(xp):
    with mg.detect_anomaly():
        gradient = mg.grad(loss)(*placed(xp, W, X, B))
    assert_close(gradient, loss_gradients()[0])


def test_manual_seed_repeats_the_draws_and_another_seed_does_not(xp):
    x = xp.asarray(np.ones(64))

    def draw(seed):
        mg.manual_seed(seed)
        return np.stack([_host(mg.dropout(x, p=0.5)), _host(mg.dropout(x, p=0.5))])

    first = draw(3)
    np.testing.assert_array_equal(first, draw(3))
    assert (first != draw(4)).any()
    assert (first[0] != first[1]).any()


KERNEL_CASES = {
    "layer_norm": (lambda x, w, b: mg.layer_norm(x, w, b), [(5, 7, 24), (24,), (24,)]),
    "layer_norm without weights": (lambda x: mg.layer_norm(x), [(6, 33)]),
    "rms_norm": (lambda x, w: mg.rms_norm(x, w), [(3, 5, 17), (17,)]),
    "softmax": (lambda x: mg.softmax(x), [(4, 3, 19)]),
    "log_softmax": (lambda x: mg.log_softmax(x), [(6, 21)]),
    "cross_entropy": (
        lambda x: mg.cross_entropy(x, np.array([3, 0, 9, 4, 2])),
        [(5, 11)],
    ),
    "gelu": (lambda x: mg.gelu(x), [(9, 31)]),
    "gelu tanh": (lambda x: mg.gelu(x, approximate="tanh"), [(9, 31)]),
    "silu": (lambda x: mg.silu(x), [(9, 31)]),
    "attention": (
        lambda q, k, v: mg.scaled_dot_product_attention(q, k, v, causal=True),
        [(2, 4, 9, 8), (2, 4, 9, 8), (2, 4, 9, 8)],
    ),
    "attention of grouped heads": (
        lambda q, k, v: mg.scaled_dot_product_attention(q, k, v),
        [(2, 6, 5, 8), (2, 2, 11, 8), (2, 2, 11, 8)],
    ),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", KERNEL_CASES)
def test_kernels_on_and_off_give_the_same_values_and_gradients(case, dtype):
    f, shapes = KERNEL_CASES[case]
    rng = np.random.default_rng(len(case))
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    results = []
    for on in (True, False):
        with mg.use_kernels(on):
            out, pullback = mg.vjp(f, *arrays)
            g = np.cos(np.arange(out.size)).reshape(out.shape).astype(dtype)
            results.append((out, *pullback(g)))
    for fast, slow in zip(*results, strict=True):
        assert fast.dtype == slow.dtype == dtype
        assert_close(fast, slow, factor=2.0)


def test_use_kernels_as_a_block_restores_what_was_before():
    """Observed through a kernel that counts its calls, hung on a fused op of the test's own."""
    from minigrad.engine import fused

    calls = []

    @fused
    def tripled(x):
        return x * 3.0

    class counting:
        dtypes = ("float64",)

        @staticmethod
        def forward(x):
            calls.append(1)
            return x * 3.0, ()

        @staticmethod
        def backward(g, saved, needs):
            return (3.0 * g,)

    tripled.kernels["cpu"] = counting
    with mg.use_kernels(False):
        tripled(X)
        with mg.use_kernels(True):
            tripled(X)
        tripled(X)
    assert len(calls) == 1
    tripled(X)
    tripled(X.astype(np.float32))
    assert len(calls) == 2


def test_use_kernels_as_a_decorator_acts_only_inside_the_function():
    from minigrad.engine import kernels_on

    @mg.use_kernels(False)
    def inside():
        return kernels_on()

    assert kernels_on()
    assert not inside()
    assert kernels_on()


# Structures that differ only in the order of their keys, and tangents left out


def test_dicts_are_matched_by_key_whatever_their_order():
    def f(p):
        return {"sum": p["a"] + p["b"], "product": p["a"] * p["b"]}

    primal, tangent = {"a": 2.0, "b": 5.0}, {"b": 1.0, "a": 0.0}
    moved = mg.jvp(f, (primal,), (tangent,))[1]
    assert (float(moved["sum"]), float(moved["product"])) == (1.0, 2.0)
    pullback = mg.vjp(f, primal)[1]
    (cotangent,) = pullback({"product": 1.0, "sum": 0.0})
    assert (float(cotangent["a"]), float(cotangent["b"])) == (5.0, 2.0)


def test_a_tangent_of_none_is_zero():
    out, tangent = mg.jvp(lambda w, x: mg.matmul(w, x), (W, X), (None, X + 1))
    assert_close(out, W @ X)
    assert_close(tangent, W @ (X + 1))
    nested = mg.jvp(lambda p, x: p["w"] @ x, ({"w": W}, X), (None, X))[1]
    assert_close(nested, W @ X)


def test_gradients_come_back_in_the_callers_kind_of_dict():
    parameters = collections.defaultdict(list, w=W)
    gradient = mg.grad(lambda p: mg.sum(p["w"] ** 2))(parameters)
    assert type(gradient) is collections.defaultdict
    assert_close(gradient["w"], 2 * W)


def test_an_argument_named_twice_is_refused():
    with pytest.raises(ValueError, match=r"argnums \(0, -3\) names an argument twice"):
        mg.grad(loss, argnums=(0, -3))(W, X, B)


def test_linearize_of_a_function_that_also_counts():
    """Integer outputs have no derivative: their tangents are zeros, as jvp gives them."""

    def f(x):
        return {"largest": mg.argmax(x), "squares": x * x, "count": 3}

    x, u = np.array([1.0, 3.0, 2.0]), np.array([0.5, -1.0, 4.0])
    out, f_jvp = mg.linearize(f, x)
    moved = f_jvp(u)
    assert int(out["largest"]) == 1
    np.testing.assert_allclose(moved["squares"], 2 * x * u)
    assert int(moved["largest"]) == 0
    assert int(moved["count"]) == 0
