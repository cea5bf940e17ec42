"""Where floating point ends: overflow, infinities, zeros, certainty, and rows that see nothing."""

import math

import numpy as np
import pytest
from checking import BFLOAT16, HALVES, as_numpy, assert_close, tolerance

import minigrad as mg

INF, NAN = math.inf, math.nan
FLOATS = [np.float16, BFLOAT16, np.float32, np.float64]
WIDE = [np.float32, np.float64]


@pytest.fixture(params=[True, False], ids=["kernels", "specification"])
def kernels(request):
    """Once with the fast kernels and once with the specification composed of ops."""
    with mg.use_kernels(request.param):
        yield request.param


def derivatives(f, *arrays):
    """(value, gradients of the sum, tangent along ones), as NumPy arrays."""
    out, pullback = mg.vjp(f, *arrays)
    gradients = pullback(np.ones(out.shape, out.dtype))
    ones = tuple(np.ones(a.shape, a.dtype) for a in arrays)
    _, tangent = mg.jvp(f, arrays, ones)
    return as_numpy(out), [as_numpy(g) for g in gradients], as_numpy(tangent)


# softmax, log_softmax, logsumexp


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_softmax_of_huge_values_is_finite_and_exact(dtype, kernels):
    x = np.array([[1e4, 1e4, -1e4], [-1e4, -1e4, -1e4], [1e4, 0.0, -1e4]], dtype)
    found = as_numpy(mg.softmax(x)).astype(np.float64)
    third = 1 / 3
    assert_close(found, [[0.5, 0.5, 0.0], [third] * 3, [1.0, 0.0, 0.0]], dtype)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_log_softmax_of_huge_values_keeps_its_digits(dtype, kernels):
    x = np.array([[1e4, 1e4, -1e4], [1e4, 0.0, -1e4]], dtype)
    top = float(x[0, 0])
    found = as_numpy(mg.log_softmax(x)).astype(np.float64)
    expected = [[-math.log(2), -math.log(2), -2 * top - math.log(2)], [0.0, -top, -2 * top]]
    np.testing.assert_allclose(found, expected, rtol=tolerance(dtype), atol=tolerance(dtype))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_logsumexp_of_huge_values_is_the_largest_plus_the_rest(size, dtype):
    x = np.array([size, size, size], dtype)
    expected = float(x[0]) + math.log(3)
    assert_close(mg.logsumexp(x).astype(np.float64), expected, dtype)


def test_logsumexp_over_nothing_is_minus_infinity():
    assert mg.logsumexp(np.zeros((2, 0)), axis=1).tolist() == [-INF, -INF]


@pytest.mark.parametrize("dtype", WIDE)
def test_a_row_of_minus_infinity_has_softmax_zero_and_no_gradient(dtype, kernels):
    """What a fully masked row means here; elsewhere it is NaN and spreads."""
    x = np.array([[-INF, -INF, -INF], [0.5, -INF, 1.5]], dtype)
    out, (gradient,), tangent = derivatives(lambda x: mg.softmax(x) ** 2, x)
    p = 1 / (1 + math.exp(1.0))
    assert_close(out, [[0, 0, 0], [p**2, 0, (1 - p) ** 2]], dtype)
    slope = p * (1 - p) * (2 * p - 2 * (1 - p))
    assert_close(gradient, [[0, 0, 0], [slope, 0, -slope]], dtype)
    assert np.isfinite(tangent).all()


@pytest.mark.parametrize("dtype", WIDE)
def test_logsumexp_ignores_minus_infinity_also_in_its_gradient(dtype):
    x = np.array([[-INF, -INF], [0.25, -INF]], dtype)
    with np.errstate(invalid="raise"):
        out, (gradient,), _ = derivatives(lambda x: mg.logsumexp(x, axis=1), x)
    np.testing.assert_array_equal(out, np.array([-INF, 0.25], dtype))
    np.testing.assert_array_equal(gradient, [[0, 0], [1, 0]])


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_second_derivatives_stay_finite_at_huge_values(name):
    x = np.array([1e4, 0.5, -1e4, 1e4])
    v = np.array([1.0, -2.0, 0.5, 3.0])
    (product,) = mg.hvp(lambda x: mg.sum(getattr(mg, name)(x) * v), (x,), (v,))
    assert np.isfinite(product).all()


# cross-entropy


@pytest.mark.parametrize("dtype", WIDE)
def test_a_certain_and_right_prediction_costs_nothing(dtype, kernels):
    logits = np.array([[1e4, 0.0, -1e4], [-50.0, 50.0, 0.0]], dtype)
    loss, gradient = mg.value_and_grad(mg.cross_entropy)(logits, np.array([0, 1]))
    np.testing.assert_allclose(loss, 0.0, atol=1e-20 + math.exp(-50))
    np.testing.assert_allclose(gradient, np.zeros((2, 3)), atol=math.exp(-50))


@pytest.mark.parametrize("dtype", WIDE)
def test_a_certain_and_wrong_prediction_costs_the_margin(dtype, kernels):
    logits = np.array([[1e4, 0.0, -1e4], [0.0, 80.0, 1.0]], dtype)
    loss, gradient = mg.value_and_grad(mg.cross_entropy)(logits, np.array([2, 0]))
    assert_close(loss, (2e4 + 80.0) / 2, dtype)
    assert_close(gradient, [[0.5, 0, -0.5], [-0.5, 0.5, 0]], dtype)


@pytest.mark.parametrize("dtype", WIDE)
def test_a_class_ruled_out_by_minus_infinity_costs_infinity_only_if_it_is_the_target(
    dtype, kernels
):
    logits = np.array([[0.5, -INF, 1.5]], dtype)
    loss, gradient = mg.value_and_grad(mg.cross_entropy)(logits, np.array([0]))
    p = 1 / (1 + math.exp(1.0))
    assert_close(loss, -math.log(p), dtype)
    assert_close(gradient, [[p - 1, 0, 1 - p]], dtype)
    assert mg.cross_entropy(logits, np.array([1])) == INF


def test_a_probability_of_zero_times_minus_infinity_counts_as_zero(kernels):
    logits = np.array([[0.5, -INF, 1.5]])
    targets = np.array([[0.25, 0.0, 0.75]])
    loss, gradient = mg.value_and_grad(mg.cross_entropy)(logits, targets)
    p = 1 / (1 + math.exp(1.0))
    assert_close(loss, -0.25 * math.log(p) - 0.75 * math.log(1 - p))
    assert_close(gradient, [[p - 0.25, 0, 0.25 - p]])


def test_ignoring_every_target_gives_nan_for_the_mean_and_zero_for_the_sum(kernels):
    """As in PyTorch: the mean over nothing is undefined, the sum over nothing is 0."""
    logits, targets = np.array([[0.5, 1.5], [2.0, -1.0]]), np.array([-100, -100])
    assert math.isnan(mg.cross_entropy(logits, targets))
    total, gradient = mg.value_and_grad(mg.cross_entropy)(logits, targets, reduction="sum")
    assert total == 0.0
    np.testing.assert_array_equal(gradient, np.zeros((2, 2)))


def test_an_ignored_row_may_hold_anything(kernels):
    logits = np.array([[0.5, 1.5], [NAN, INF]])
    loss, gradient = mg.value_and_grad(mg.cross_entropy)(logits, np.array([1, -100]))
    assert_close(loss, math.log(1 + math.exp(-1.0)))
    assert np.isfinite(gradient[0]).all()


@pytest.mark.parametrize("dtype", WIDE)
def test_the_loss_of_large_equal_logits_keeps_its_digits(dtype, kernels):
    """log 2, also where the logits are so large that their own rounding is 1e-3."""
    logits = np.array([[1e4, 1e4], [-3e4, -3e4]], dtype)
    assert_close(mg.cross_entropy(logits, np.array([1, 0])), math.log(2), dtype)
    targets = np.array([[0.25, 0.75], [1.0, 0.0]], dtype)
    assert_close(mg.cross_entropy(logits, targets), math.log(2), dtype)


# power, norm, sqrt, division at and near zero


def test_powers_of_zero_are_what_the_limit_says():
    zero = np.array(0.0)
    assert mg.power(zero, np.array(0.0)) == 1.0
    assert mg.power(zero, np.array(2.5)) == 0.0
    assert mg.power(zero, 0) == 1.0
    with np.errstate(divide="ignore"):
        assert mg.power(zero, np.array(-1.0)) == INF


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.5, 2.0, 3.0])
def test_derivatives_of_powers_at_zero_are_finite_where_the_function_is_smooth(exponent):
    x = np.array([0.0, 2.0])
    y = np.full(2, exponent)
    with np.errstate(all="raise"):
        _, (dx, dy), _ = derivatives(mg.power, x, y)
    assert_close(dx, [1.0 if exponent == 1 else 0.0, exponent * 2.0 ** (exponent - 1)])
    assert_close(dy, [0.0, 2.0**exponent * math.log(2.0)])


def test_square_root_has_an_infinite_slope_at_zero():
    with np.errstate(divide="ignore"):
        assert mg.grad(mg.sqrt)(np.array(0.0)) == INF
        assert mg.grad(lambda x: x**0.5)(np.array(0.0)) == INF


def test_the_norm_of_zero_has_gradient_zero_in_both_modes():
    x = np.zeros((2, 3))
    with np.errstate(all="raise"):
        out, (gradient,), tangent = derivatives(lambda x: mg.norm(x, axis=1), x)
    np.testing.assert_array_equal(out, [0, 0])
    np.testing.assert_array_equal(gradient, np.zeros((2, 3)))
    np.testing.assert_array_equal(tangent, [0, 0])


def test_a_zero_row_does_not_spoil_the_norms_of_other_rows():
    x = np.array([[0.0, 0.0], [3.0, -4.0]])
    _, (gradient,), _ = derivatives(lambda x: mg.norm(x, axis=1), x)
    assert_close(gradient, [[0, 0], [0.6, -0.8]])


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_norms_in_half_precision_do_not_overflow_in_their_squares(dtype):
    x = np.array([300.0, -400.0], dtype)
    assert float(as_numpy(mg.norm(x))) == 500.0


def test_products_with_zeros_have_the_right_first_and_second_derivatives():
    x = np.array([0.0, 2.0, -3.0])
    np.testing.assert_array_equal(mg.grad(mg.prod)(x), [-6.0, 0.0, 0.0])
    expected = [[0, -3, 2], [-3, 0, 0], [2, 0, 0]]
    np.testing.assert_array_equal(mg.hessian(mg.prod)(x), expected)
    np.testing.assert_array_equal(mg.grad(mg.prod)(np.array([0.0, 0.0, 5.0])), np.zeros(3))


# Functions that saturate


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_sigmoid_tanh_and_softplus_saturate_without_overflow(dtype):
    x = np.array([-1e4, -40.0, 40.0, 1e4], dtype)
    with np.errstate(over="raise", invalid="raise"):
        s, (ds,), _ = derivatives(mg.sigmoid, x)
        t, (dt,), _ = derivatives(mg.tanh, x)
        p, (dp,), _ = derivatives(mg.softplus, x)
    np.testing.assert_allclose(s.astype(float), [0, 0, 1, 1], atol=1e-7)
    np.testing.assert_allclose(t.astype(float), [-1, -1, 1, 1], rtol=tolerance(dtype))
    expected = np.maximum(x.astype(float), 0)
    np.testing.assert_allclose(p.astype(float), expected, rtol=tolerance(dtype), atol=1e-7)
    for slope in (ds, dt, dp):
        assert np.isfinite(slope.astype(float)).all()
    np.testing.assert_allclose(dp.astype(float), [0, 0, 1, 1], atol=1e-7)


@pytest.mark.parametrize("f", [mg.gelu, lambda x: mg.gelu(x, approximate="tanh"), mg.silu])
@pytest.mark.parametrize("dtype", WIDE)
def test_smooth_activations_reach_their_limits(f, dtype, kernels):
    x = np.array([-1e4, -100.0, 0.0, 100.0, 1e4], dtype)
    out, (slope,), tangent = derivatives(f, x)
    np.testing.assert_allclose(out, [0, 0, 0, 100, 1e4], atol=1e-30, rtol=tolerance(dtype))
    np.testing.assert_allclose(slope, [0, 0, 0.5, 1, 1], atol=1e-30, rtol=tolerance(dtype))
    np.testing.assert_allclose(tangent, slope, atol=1e-30, rtol=tolerance(dtype))


def test_expm1_and_log1p_keep_their_digits_near_zero():
    tiny = np.array([1e-18, -3e-17])
    np.testing.assert_allclose(mg.expm1(tiny), tiny, rtol=1e-15)
    np.testing.assert_allclose(mg.log1p(tiny), tiny, rtol=1e-15)


def test_erf_keeps_its_digits_near_zero_and_reaches_one(kernels):
    x = np.array([1e-12, -1e-8, 0.1, 3.0, 6.5, -30.0, INF])
    expected = [math.erf(v) for v in x]
    np.testing.assert_allclose(mg.erf(x), expected, rtol=tolerance(np.float64))
    single = mg.erf(x.astype(np.float32))
    exact = [math.erf(float(v)) for v in x.astype(np.float32)]
    np.testing.assert_allclose(single, exact, rtol=tolerance(np.float32))


# Half precision


def test_float16_overflows_to_infinity_and_not_to_something_else():
    x = mg.tensor(np.array([60000.0, 300.0], np.float16))
    with np.errstate(over="ignore"):
        assert mg.add(x, x).numpy().tolist() == [INF, 600.0]
        assert mg.exp(x).numpy().tolist() == [INF, INF]
        assert (x * 2.0).numpy().tolist() == [INF, 600.0]
        assert mg.sum(x).numpy() == np.float16(60300.0)
        assert mg.mean(x).numpy() == np.float16(30150.0)


def test_bfloat16_has_the_range_of_float32_and_few_digits():
    x = mg.tensor(np.array([3e38, 1e-38], BFLOAT16))
    assert np.isfinite((x * 1.0).numpy().astype(float)).all()
    assert (mg.tensor(np.array(256.0, BFLOAT16)) + 1.0).item() == 256.0


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_softmax_and_losses_in_half_precision_sum_in_single(dtype):
    """4,096 classes of equal logits: each has 1/4096, and the loss is log 4096."""
    logits = np.zeros((2, 4096), dtype)
    p = as_numpy(mg.softmax(logits)).astype(float)
    np.testing.assert_allclose(p, 1 / 4096, rtol=tolerance(dtype))
    loss = mg.cross_entropy(logits, np.array([5, 4000]))
    np.testing.assert_allclose(float(as_numpy(loss)), math.log(4096), rtol=tolerance(dtype))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_gradients_that_would_be_lost_in_half_precision_are_still_its_dtype(dtype):
    x = np.full(3000, 1.0, dtype)
    gradient = mg.grad(lambda x: mg.sum(x * x) / 3000.0)(x)
    assert gradient.dtype == dtype
    np.testing.assert_allclose(gradient.astype(float), 2 / 3000, rtol=2 * tolerance(dtype))


# Normalisation


@pytest.mark.parametrize("dtype", WIDE)
def test_layer_norm_of_a_constant_row_is_zero(dtype, kernels):
    x = np.array([[3.0, 3.0, 3.0, 3.0], [1e6, 1e6, 1e6, 1e6]], dtype)
    out, (gradient,), _ = derivatives(lambda x: mg.layer_norm(x), x)
    np.testing.assert_array_equal(out, np.zeros((2, 4)))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", WIDE)
def test_layer_norm_does_not_lose_a_small_variance_beside_a_large_mean(dtype, kernels):
    """The variance as E[x^2] - E[x]^2 would cancel to nothing in float32."""
    x = np.array([[4096.0, 4097.0, 4099.0, 4100.0]], dtype)
    centred = x.astype(float) - x.astype(float).mean()
    expected = centred / np.sqrt((centred**2).mean() + 1e-5)
    assert_close(mg.layer_norm(x), expected, dtype)
    assert_close(mg.var(x, axis=1), (centred**2).mean(1), dtype)


@pytest.mark.parametrize("dtype", WIDE)
def test_rms_norm_of_zeros_is_zero_with_a_finite_gradient(dtype, kernels):
    out, (gradient,), _ = derivatives(lambda x: mg.rms_norm(x), np.zeros((2, 3), dtype))
    np.testing.assert_array_equal(out, np.zeros((2, 3)))
    assert_close(gradient, np.full((2, 3), 1 / math.sqrt(1e-5)), dtype)


# Attention


def attention_inputs(dtype, L=3, S=5):
    rng = np.random.default_rng(2)
    shapes = [(2, 2, L, 4), (2, 2, S, 4), (2, 2, S, 4)]
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", WIDE)
def test_a_query_that_sees_nothing_gets_zero_and_gives_no_gradient(dtype, kernels):
    q, k, v = attention_inputs(dtype)
    mask = np.ones((3, 5), bool)
    mask[1] = False

    def f(q, k, v):
        return mg.scaled_dot_product_attention(q, k, v, mask=mask)

    with np.errstate(invalid="raise"):
        out, (dq, dk, dv), tangent = derivatives(f, q, k, v)
    np.testing.assert_array_equal(out[:, :, 1], np.zeros((2, 2, 4)))
    np.testing.assert_array_equal(dq[:, :, 1], np.zeros((2, 2, 4)))
    np.testing.assert_array_equal(tangent[:, :, 1], np.zeros((2, 2, 4)))
    assert np.isfinite(dk).all()
    assert np.isfinite(dv).all()
    keep = [0, 2]
    alone = mg.scaled_dot_product_attention(q[:, :, keep], k, v)
    assert_close(out[:, :, keep], alone, dtype)


@pytest.mark.parametrize("dtype", WIDE)
def test_causal_queries_before_the_first_key_see_nothing(dtype, kernels):
    """More queries than keys: aligned bottom right, the first two of five have no key."""
    q, k, v = attention_inputs(dtype, L=5, S=3)
    f = lambda q, k, v: mg.scaled_dot_product_attention(q, k, v, causal=True)
    out, gradients, _ = derivatives(f, q, k, v)
    np.testing.assert_array_equal(out[:, :, :2], np.zeros((2, 2, 2, 4)))
    np.testing.assert_allclose(out[:, :, 2], v[:, :, 0], rtol=tolerance(dtype))
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("dtype", WIDE)
def test_attention_with_huge_scores_picks_the_largest(dtype, kernels):
    q, k, v = attention_inputs(dtype)
    q, k = q * 1e3, k * 1e3
    out, gradients, _ = derivatives(mg.scaled_dot_product_attention, q, k, v)
    best = np.einsum("bhid,bhjd->bhij", q.astype(float), k.astype(float)).argmax(-1)
    expected = np.take_along_axis(v, best[..., None], axis=2)
    assert_close(out, expected, dtype)
    assert all(np.isfinite(g).all() for g in gradients)


def test_attention_over_no_keys_at_all_is_zero(kernels):
    q, k, v = attention_inputs(np.float64, S=0)
    out = mg.scaled_dot_product_attention(q, k, v)
    np.testing.assert_array_equal(out, np.zeros((2, 2, 3, 4)))


def test_second_derivatives_of_masked_attention_are_finite():
    q, k, v = attention_inputs(np.float64)
    mask = np.zeros((3, 5), bool)
    mask[0, 2:] = True

    def f(q):
        return mg.sum(mg.scaled_dot_product_attention(q, k, v, mask=mask) ** 2)

    (product,) = mg.hvp(f, (q,), (np.cos(q),))
    assert np.isfinite(product).all()
    np.testing.assert_array_equal(product[:, :, 1:], np.zeros((2, 2, 2, 4)))


# Empty arrays


def test_reductions_of_nothing_are_their_neutral_element():
    nothing = np.zeros((2, 0))
    np.testing.assert_array_equal(mg.sum(nothing, axis=1), [0, 0])
    np.testing.assert_array_equal(mg.prod(nothing, axis=1), [1, 1])
    assert mg.grad(mg.sum)(nothing).shape == (2, 0)
    assert mg.grad(mg.prod)(nothing).shape == (2, 0)


@pytest.mark.parametrize("dtype", WIDE)
def test_fused_ops_take_empty_batches(dtype, kernels):
    """No rows: values and gradients of the right shape, and zero gradients of the weights."""
    x, w, b = (np.zeros(s, dtype) for s in ((0, 4), (4,), (4,)))
    _, (dx, dw, db), _ = derivatives(mg.layer_norm, x, w + 1, b)
    assert dx.shape == (0, 4)
    np.testing.assert_array_equal(dw, np.zeros(4))
    np.testing.assert_array_equal(db, np.zeros(4))
    for f in (mg.softmax, mg.log_softmax, mg.gelu, mg.silu, mg.rms_norm):
        out, (gradient,), _ = derivatives(f, x)
        assert out.shape == gradient.shape == (0, 4)
    _, (dw,), _ = derivatives(
        lambda w: mg.embedding(w, np.zeros((0, 2), int)), np.ones((3, 4), dtype)
    )
    np.testing.assert_array_equal(dw, np.zeros((3, 4)))


# Infinity and NaN pass through as in NumPy


@pytest.mark.parametrize("name", ["exp", "tanh", "sigmoid", "relu", "abs", "sum", "max", "softmax"])
def test_nan_is_not_swallowed(name, kernels):
    x = np.array([0.5, NAN, -1.0])
    assert np.isnan(as_numpy(getattr(mg, name)(x))).any()


def test_maximum_and_max_of_nan_are_nan():
    assert math.isnan(mg.maximum(np.array(NAN), np.array(1.0)))
    assert math.isnan(mg.max(np.array([1.0, NAN, 2.0])))
    assert math.isnan(mg.clip(np.array(NAN), -1.0, 1.0))


@pytest.mark.parametrize("row", [[1.0, INF, 2.0], [NAN, 1.0, 2.0], [INF, -INF, 0.0]], ids=str)
@pytest.mark.parametrize("op", [mg.softmax, mg.log_softmax], ids=lambda op: op.name)
def test_a_row_with_nan_or_infinity_is_nan_throughout(op, row, kernels):
    found = as_numpy(op(np.array([[1.0, 2.0, 3.0], row])))
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


def test_the_tangent_of_a_joined_constant_is_zero_also_where_it_is_infinite():
    border = np.array([INF, -INF])
    x = np.array([0.5, 2.0])
    _, tangent = mg.jvp(lambda x: mg.concatenate([x, border]), (x,), (x,))
    np.testing.assert_array_equal(tangent, [0.5, 2.0, 0.0, 0.0])
    _, tangent = mg.jvp(lambda x: mg.where(x, border, 0.0), (x,), (x,))
    np.testing.assert_array_equal(tangent, [0.0, 0.0])


@pytest.mark.parametrize("kernels", [True, False])
def test_a_mask_is_no_anomaly(kernels):
    """The -inf of a causal or boolean mask is meant; a NaN that comes out is still found."""
    q, k, v = (np.random.default_rng(i).standard_normal((1, 2, 3, 4)) for i in range(3))
    seen = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1]], bool)
    with mg.use_kernels(kernels), mg.detect_anomaly():
        leaf = mg.tensor(q, requires_grad=True)
        mg.sum(mg.scaled_dot_product_attention(leaf, k, v, mask=seen)).backward()
        mg.sum(mg.scaled_dot_product_attention(leaf, k, v, causal=True)).backward()
        with pytest.raises(FloatingPointError, match="attention"):
            mg.scaled_dot_product_attention(mg.tensor(q * np.nan), k, v, mask=seen)
