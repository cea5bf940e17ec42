"""CPU kernels against plain float64 NumPy, their gradients against finite differences of it."""

import importlib
import math
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from checking import assert_close, directional_difference, directions, jacobian_by_differences

import minigrad as mg
from minigrad import cpu
from minigrad.cpu import threads

FLOATS = [np.float32, np.float64]
NAN, INF = math.nan, math.inf

erf = np.vectorize(math.erf, otypes=[np.float64])


def kernel(where):
    """A kernel by the name that the engine knows it by."""
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(f"minigrad.cpu.{module}"), name)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(autouse=True)
def _usual_number_of_threads():
    yield
    threads.set_num_threads(None)


# What each kernel should compute, in float64


def gelu(x, approximate="none"):
    if approximate == "none":
        return x * (1 + erf(x / math.sqrt(2))) / 2
    return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def layer_norm(x, weight, bias, eps=1e-5):
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)
    return y * (1 if weight is None else weight) + (0 if bias is None else bias)


def rms_norm(x, weight, eps=1e-5):
    y = x / np.sqrt((x**2).mean(-1, keepdims=True) + eps)
    return y * (1 if weight is None else weight)


def softmax(x, axis=-1):
    e = np.exp(x - x.max(-1, keepdims=True, initial=-1e30))
    return e / np.maximum(e.sum(-1, keepdims=True), 1e-300)


def log_softmax(x, axis=-1):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def cross_entropy(logits, targets, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    log_p, V = log_softmax(logits), logits.shape[-1]
    counted = targets != ignore_index
    wanted = np.eye(V)[np.where(counted, targets, 0)]
    wanted = (1 - label_smoothing) * wanted + label_smoothing / V
    losses = np.where(counted, -(wanted * log_p).sum(-1), 0.0)
    return {"none": losses, "sum": losses.sum(), "mean": losses.sum() / counted.sum()}[reduction]


def attention(q, k, v, mask=None, causal=False, scale=None):
    (Lq, H), Lk, group = q.shape[2:], k.shape[2], q.shape[1] // k.shape[1]
    scores = q @ np.repeat(k, group, 1).swapaxes(-1, -2)
    scores = scores * (1 / math.sqrt(H) if scale is None else scale)
    if causal:
        scores = np.where(np.tri(Lq, Lk, Lk - Lq) > 0, scores, -INF)
    scores = scores if mask is None else np.where(mask, scores, -INF)
    return softmax(scores) @ np.repeat(v, group, 1)


def embedding(weight, ids):
    return weight[ids]


def linear(x, weight, bias):
    return x @ weight + (0 if bias is None else bias)


def normal(*shape):
    return lambda rng: rng.normal(size=shape) * 2


def turned(*shape):
    """The transpose of a matrix of that shape."""
    return lambda rng: rng.normal(size=shape).T


def below(limit, *shape):
    return lambda rng: rng.integers(0, limit, shape)


def targets(limit, *shape):
    """Class indices, some of them -100."""
    return lambda rng: np.where(rng.random(shape) < 0.2, -100, rng.integers(0, limit, shape))


def heads(B, n_h, n_kv, Lq, Lk, H, Hv=None):
    """Queries, keys and values, each stored as (B, L, heads, width) and then transposed."""

    def swapped(*shape):
        return lambda rng: rng.normal(size=shape).transpose(0, 2, 1, 3)

    return swapped(B, Lq, n_h, H), swapped(B, Lk, n_kv, H), swapped(B, Lk, n_kv, Hv or H), None


def padding(B, Lk):
    """A mask (B, 1, 1, Lk) that hides the first keys of each batch entry, of one of them most."""

    def draw(rng):
        hidden = rng.permutation(np.linspace(1, Lk - 1, B).astype(int))
        return (np.arange(Lk) >= hidden[:, None])[:, None, None]

    return draw


ATTENTION = "attention:scaled_dot_product_attention"
CASES = [
    ("activation:gelu", gelu, [normal(3, 5)], {"approximate": "none"}),
    ("activation:gelu", gelu, [normal()], {"approximate": "none"}),
    ("activation:gelu", gelu, [normal(2, 3, 7)], {"approximate": "tanh"}),
    ("activation:silu", lambda x: x * sigmoid(x), [normal(37)], {}),
    ("activation:sigmoid", sigmoid, [normal(1, 33)], {}),
    ("norm:layer_norm", layer_norm, [normal(2, 3, 7), normal(7), normal(7)], {"eps": 1e-5}),
    ("norm:layer_norm", layer_norm, [normal(19, 3), None, normal(3)], {"eps": 1e-2}),
    ("norm:layer_norm", layer_norm, [normal(5), normal(5), None], {"eps": 1e-5}),
    ("norm:rms_norm", rms_norm, [normal(19, 5), normal(5)], {"eps": 1e-5}),
    ("norm:rms_norm", rms_norm, [normal(2, 1, 17), None], {"eps": 1e-2}),
    ("softmax:softmax", softmax, [normal(5, 17)], {"axis": -1}),
    ("softmax:softmax", softmax, [normal(3)], {"axis": 0}),
    ("softmax:log_softmax", log_softmax, [normal(2, 3, 17)], {"axis": 2}),
    ("softmax:cross_entropy", cross_entropy, [normal(7, 5), targets(5, 7)], {}),
    (
        "softmax:cross_entropy",
        cross_entropy,
        [normal(2, 3, 17), below(17, 2, 3)],
        {"label_smoothing": 0.2, "reduction": "none"},
    ),
    (
        "softmax:cross_entropy",
        cross_entropy,
        [normal(9, 3), below(3, 9)],
        {"ignore_index": 1, "label_smoothing": 0.1, "reduction": "sum"},
    ),
    ("embedding:embedding", embedding, [normal(5, 7), below(5, 3, 4)], {}),
    ("activation:swiglu", lambda x, y: x * sigmoid(x) * y, [normal(3, 5), normal(3, 5)], {}),
    ("decode:linear", linear, [normal(2, 3), normal(3, 5), normal(5)], {}),
    (ATTENTION, attention, heads(2, 2, 2, 5, 5, 4), {"causal": True}),
    (ATTENTION, attention, heads(1, 4, 2, 3, 7, 5), {"causal": True}),
    (ATTENTION, attention, heads(1, 3, 1, 5, 3, 2, 6), {"causal": False, "scale": 0.7}),
    (ATTENTION, attention, heads(2, 1, 1, 1, 1, 1), {"causal": True}),
    (ATTENTION, attention, heads(1, 2, 1, 6, 2, 3), {"causal": True}),
    (ATTENTION, attention, heads(2, 6, 2, 1, 7, 5, 3), {"causal": True}),
    (ATTENTION, attention, [*heads(2, 2, 1, 5, 5, 3)[:3], padding(2, 5)], {"causal": True}),
    (ATTENTION, attention, [*heads(2, 4, 2, 1, 6, 3)[:3], padding(2, 6)], {}),
]
LARGE = [
    ("activation:gelu", gelu, [normal(101, 77)], {"approximate": "none"}),
    ("activation:gelu", gelu, [normal(101, 77)], {"approximate": "tanh"}),
    ("activation:silu", lambda x: x * sigmoid(x), [normal(101, 77)], {}),
    ("activation:sigmoid", sigmoid, [normal(101, 77)], {}),
    ("norm:layer_norm", layer_norm, [normal(301, 131), normal(131), normal(131)], {}),
    ("norm:rms_norm", rms_norm, [normal(301, 131), normal(131)], {}),
    ("softmax:softmax", softmax, [normal(301, 131)], {}),
    ("softmax:log_softmax", log_softmax, [normal(301, 131)], {}),
    ("softmax:cross_entropy", cross_entropy, [normal(301, 131), targets(131, 301)], {}),
    ("embedding:embedding", embedding, [normal(11, 300), below(11, 400)], {}),
    (ATTENTION, attention, heads(2, 6, 2, 70, 93, 20), {"causal": True}),
    (ATTENTION, attention, heads(3, 3, 3, 97, 33, 33, 40), {"causal": False}),
    (ATTENTION, attention, heads(3, 6, 2, 1, 600, 40, 33), {"causal": True}),
    (ATTENTION, attention, [*heads(2, 4, 2, 70, 93, 20)[:3], padding(2, 93)], {"causal": True}),
    (ATTENTION, attention, [*heads(2, 4, 2, 1, 513, 20)[:3], padding(2, 513)], {"causal": True}),
    ("activation:swiglu", lambda x, y: x * sigmoid(x) * y, [normal(101, 77), normal(101, 77)], {}),
    ("decode:linear", linear, [normal(1, 301), normal(301, 257), None], {}),
    ("decode:linear", linear, [normal(2, 2, 77), normal(77, 131), normal(131)], {}),
    ("decode:linear", linear, [normal(3, 19), normal(19, 4099), None], {}),
    ("decode:linear", linear, [normal(1, 2, 70), turned(1033, 70), None], {}),
]


def case_id(case):
    return case[0].partition(":")[2] if isinstance(case, tuple) else None


def make(rng, arguments, dtype):
    """The arrays of a case, floats in `dtype`."""
    arrays = [argument and argument(rng) for argument in arguments]
    return [
        np.asarray(x, dtype) if x is not None and np.asarray(x).dtype.kind == "f" else x
        for x in arrays
    ]


def run(op, arrays, params, g):
    """(out, gradients) of a kernel; `g` may be a function of out."""
    before = [x if x is None else x.copy() for x in arrays]
    out, saved = op.forward(*arrays, **params)
    g = g(out) if callable(g) else g
    needs = [x is not None and x.dtype.kind == "f" for x in arrays]
    gradients = op.backward(g, saved, tuple(needs), **params)
    for x, copy in zip(arrays, before):
        assert x is None or np.array_equal(x, copy, equal_nan=True), "an input was written to"
    assert len(gradients) == len(arrays)
    for d, x, need in zip(gradients, arrays, needs):
        assert (d is not None) == need
        assert not need or (d.shape == x.shape and d.dtype == x.dtype and d.flags.c_contiguous)
    assert out.flags.c_contiguous
    return out, gradients


def cotangent(rng):
    return lambda out: np.asarray(rng.normal(size=out.shape), out.dtype)


def computes(op, dtype):
    return np.dtype(dtype).name in op.dtypes


def wide(arrays):
    return [x if x is None or x.dtype.kind != "f" else x.astype(np.float64) for x in arrays]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_kernel_agrees_with_numpy_and_with_differences_entry_by_entry(case, dtype, rng):
    where, reference, arguments, params = case
    op, arrays = kernel(where), make(rng, arguments, dtype)
    if not computes(op, dtype):
        pytest.skip(f"{where} leaves {np.dtype(dtype)} to its specification")
    seen = []
    out, gradients = run(op, arrays, params, lambda o: seen.append(cotangent(rng)(o)) or seen[0])
    exact = wide(arrays)
    assert_close(out, reference(*exact, **params), dtype)
    assert out.dtype == dtype
    g = seen[0].astype(np.float64)
    for i, d in enumerate(gradients):
        if d is not None:
            loss = lambda x, i=i: np.sum(g * reference(*exact[:i], x, *exact[i + 1 :], **params))
            slope = jacobian_by_differences(loss, exact[i])
            factor = 1.0 if dtype == np.float32 else 1e4
            assert_close(d, slope, dtype, f"gradient {i}", factor)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", LARGE, ids=case_id)
def test_large_kernel_agrees_in_a_random_direction(case, dtype, rng):
    where, reference, arguments, params = case
    op, arrays = kernel(where), make(rng, arguments, dtype)
    if not computes(op, dtype):
        pytest.skip(f"{where} leaves {np.dtype(dtype)} to its specification")
    seen = []
    out, gradients = run(op, arrays, params, lambda o: seen.append(cotangent(rng)(o)) or seen[0])
    exact, g = wide(arrays), seen[0].astype(np.float64)
    assert_close(out, reference(*exact, **params), dtype, factor=4)
    for i, d in enumerate(gradients):
        if d is None:
            continue
        (v,) = directions(rng, [exact[i]])
        loss = lambda x, i=i: np.sum(g * reference(*exact[:i], x, *exact[i + 1 :], **params))
        slope = directional_difference(loss, [exact[i]], [v])
        size = np.abs(d * v).sum()
        found = float((d.astype(np.float64) * v).sum())
        assert abs(found - slope) < size * (1e-6 if dtype == np.float32 else 1e-9), f"argument {i}"


@pytest.mark.parametrize("case", LARGE, ids=case_id)
def test_number_of_threads_changes_no_bit(case, rng):
    where, _, arguments, params = case
    op, arrays = kernel(where), make(rng, arguments, np.float32)
    g = []
    results = []
    for n in (1, 2, 3, 2):
        threads.set_num_threads(n)
        out, gradients = run(op, arrays, params, lambda o: g.append(cotangent(rng)(o)) or g[0])
        results.append([out, *(d for d in gradients if d is not None)])
    for other in results[1:]:
        for first, again in zip(results[0], other):
            np.testing.assert_array_equal(first, again)


# A matrix that is not contiguous is left to the specification.
ANY_STRIDES = [case for case in LARGE if case[0] != "decode:linear"]


@pytest.mark.parametrize("case", ANY_STRIDES, ids=case_id)
def test_strides_and_read_only_views_change_no_bit(case, rng):
    where, _, arguments, params = case
    op, arrays = kernel(where), make(rng, arguments, np.float32)
    views = []
    for x in arrays:
        if x is not None:
            spread = np.zeros(tuple(2 * n for n in x.shape), x.dtype)
            view = spread[tuple(slice(None, None, 2) for _ in x.shape)]
            view[...] = x
            x = np.flip(np.flip(view).copy()) if x.ndim == 1 else view
            x.flags.writeable = False
        views.append(x)
    out, gradients = run(op, arrays, params, np.ones_like)
    one = lambda o: np.broadcast_to(np.ones((), o.dtype), o.shape)
    out_of_views, gradients_of_views = run(op, views, params, one)
    np.testing.assert_array_equal(out, out_of_views)
    for d, other in zip(gradients, gradients_of_views):
        assert d is other is None or np.array_equal(d, other)


@pytest.mark.parametrize(
    ("where", "arrays"),
    [
        ("activation:gelu", [np.zeros((0, 3))]),
        ("norm:layer_norm", [np.zeros((2, 0, 5)), np.ones(5), np.ones(5)]),
        ("norm:rms_norm", [np.zeros((0, 5)), np.ones(5)]),
        ("softmax:softmax", [np.zeros((0, 5))]),
        ("softmax:log_softmax", [np.zeros((3, 0, 5))]),
        ("softmax:cross_entropy", [np.zeros((0, 5)), np.zeros(0, np.int64)]),
        ("embedding:embedding", [np.ones((4, 3)), np.zeros((0, 2), np.int64)]),
        (ATTENTION, [np.ones((0, 2, 3, 4)), np.ones((0, 2, 3, 4)), np.ones((0, 2, 3, 4)), None]),
        (ATTENTION, [np.ones((1, 2, 3, 4)), np.ones((1, 2, 0, 4)), np.ones((1, 2, 0, 4)), None]),
        (ATTENTION, [np.ones((1, 2, 0, 4)), np.ones((1, 2, 3, 4)), np.ones((1, 2, 3, 4)), None]),
    ],
)
def test_empty_inputs_give_empty_outputs_and_zero_gradients(where, arrays):
    op = kernel(where)
    out, gradients = run(op, arrays, {}, np.ones_like)
    if where == "softmax:cross_entropy":
        assert np.isnan(out)
    elif where == ATTENTION:
        assert not out.any()
    else:
        assert out.size == 0
    assert all(d is None or not d.any() for d in gradients)


# Special values


@pytest.mark.parametrize("dtype", FLOATS)
def test_erf_is_accurate_to_the_last_digits(dtype):
    x = np.concatenate([np.linspace(-6, 6, 4001), np.geomspace(1e-30, 10, 500)]).astype(dtype)
    found, exact = kernel("activation:erf")(x), erf(x.astype(np.float64))
    assert found.dtype == dtype
    if dtype == np.float64:
        np.testing.assert_allclose(found, exact, rtol=1e-15)
    else:
        np.testing.assert_allclose(found, exact, rtol=1.3e-7)


def test_erf_of_other_types_and_special_values():
    op = kernel("activation:erf")
    for dtype in FLOATS:
        special = np.array([INF, -INF, NAN, 0.0, 1e30], dtype)
        np.testing.assert_array_equal(op(special), np.array([1, -1, NAN, 0, 1], dtype))
    assert op(np.array([[1, 2]])).dtype == np.float64
    assert_close(op(np.array([0.5], np.float16)), erf(0.5)[None], np.float16)
    with pytest.raises(TypeError, match="complex128"):
        op(np.array([1j]))


def test_gelu_keeps_the_digits_of_its_lower_tail():
    x = np.linspace(-8, -1, 701).astype(np.float32)
    found, _ = kernel("activation:gelu").forward(x, approximate="none")
    exact = [v / 2 * math.erfc(-v / math.sqrt(2)) for v in x.tolist()]
    np.testing.assert_allclose(found, exact, rtol=3e-6)


@pytest.mark.parametrize("dtype", FLOATS)
def test_activations_at_infinity_and_nan(dtype):
    x = np.array([INF, -1e30, 1e30, NAN], dtype)
    for where in ("activation:gelu", "activation:silu"):
        found, _ = kernel(where).forward(x)
        np.testing.assert_array_equal(found, np.array([INF, 0, 1e30, NAN], dtype))


@pytest.mark.parametrize("dtype", FLOATS)
def test_softmax_of_extreme_rows(dtype):
    x = np.array([[1e4, 1e4, -1e4], [-INF, 2, 2], [-INF] * 3, [NAN, 1, -INF], [-1e4] * 3], dtype)
    third = dtype(1) / dtype(3)
    expected = [[0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0, 0], [NAN] * 3, [third] * 3]
    found, saved = kernel("softmax:softmax").forward(x)
    assert_close(found, np.array(expected), dtype)
    (dx,) = kernel("softmax:softmax").backward(np.ones_like(x), saved, (True,))
    assert np.isfinite(dx[[0, 4]]).all()
    found, _ = kernel("softmax:log_softmax").forward(x[:3])
    half = -math.log(2)
    assert_close(found, [[half, half, -2e4 + half], [-INF, half, half], [-INF] * 3], dtype)


@pytest.mark.parametrize("dtype", FLOATS)
def test_cross_entropy_of_certain_predictions(dtype):
    logits = np.array([[1e4, 0, 0], [0, -INF, 0], [1e4, -1e4, 0]], dtype)
    op = kernel("softmax:cross_entropy")
    losses, saved = op.forward(logits, np.array([0, 2, 1]), reduction="none")
    assert_close(losses, [0, math.log(2), 2e4], dtype)
    d, _ = op.backward(np.ones(3, dtype), saved, (True, False), reduction="none")
    assert_close(d, [[0, 0, 0], [0.5, 0, -0.5], [1, -1, 0]], dtype)


def test_cross_entropy_counts_no_ignored_target_and_is_nan_without_any():
    op, logits = kernel("softmax:cross_entropy"), np.array([[1.0, 2], [3, 5]])
    one, _ = op.forward(logits, np.array([1, -100]))
    assert_close(one, math.log(1 + math.exp(-1)))
    none, saved = op.forward(logits, np.array([-100, -100]))
    assert np.isnan(none) and none.shape == ()
    d, _ = op.backward(np.ones(()), saved, (True, False))
    assert not d.any()


@pytest.mark.parametrize("dtype", FLOATS)
def test_query_that_sees_nothing_gives_zeros_and_finite_gradients(dtype, rng):
    arrays = make(rng, heads(1, 2, 1, 5, 2, 3), dtype)
    out, gradients = run(kernel(ATTENTION), arrays, {"causal": True}, np.ones_like)
    assert not out[:, :, :3].any() and out[:, :, 3:].all()
    assert all(d is None or np.isfinite(d).all() for d in gradients)
    assert not gradients[0][:, :, :3].any()


def test_causal_attention_does_not_look_ahead(rng):
    q, k, v, _ = make(rng, heads(1, 1, 1, 70, 70, 8), np.float32)
    out, _ = kernel(ATTENTION).forward(q, k, v, None, causal=True)
    k[:, :, 40:], v[:, :, 40:] = 1e3, NAN
    changed, _ = kernel(ATTENTION).forward(q, k, v, None, causal=True)
    np.testing.assert_array_equal(out[:, :, :32], changed[:, :, :32])
    assert np.isnan(changed[:, :, 40:]).all()


def test_attention_survives_huge_scores(rng):
    q, k, v, _ = make(rng, heads(1, 1, 1, 9, 9, 4), np.float64)
    out, _ = kernel(ATTENTION).forward(q * 1e3, k * 1e3, v, None)
    assert_close(out, attention(q * 1e3, k * 1e3, v))


# What is left to the specification, and what is refused


def test_cases_left_to_the_specification():
    x, ids = np.ones((2, 3), np.float32), np.array([0, 1])
    assert not kernel("activation:gelu").supports(x, approximate="fast")
    assert not kernel("norm:layer_norm").supports(x, np.ones(2, np.float32), None, eps=1e-5)
    assert not kernel("norm:rms_norm").supports(x, np.ones(1, np.float32), eps=1e-5)
    assert not kernel("softmax:softmax").supports(x, axis=0)
    assert not kernel("softmax:log_softmax").supports(x[:, :0], axis=-1)
    usual = {"ignore_index": -100, "label_smoothing": 0.0, "reduction": "mean"}
    op = kernel("softmax:cross_entropy")
    assert op.supports(x, ids, **usual)
    assert not op.supports(x, x, **usual)
    assert not op.supports(x, ids[:1], **usual)
    assert not op.supports(x, ids, **{**usual, "reduction": "median"})
    q = np.ones((1, 4, 5, 2), np.float32)
    usual = {"causal": True, "scale": None}
    assert kernel(ATTENTION).supports(q, q[:, :2], q[:, :2], None, **usual)
    assert not kernel(ATTENTION).supports(q, q, q, np.ones((5, 5), bool), **usual)
    assert not kernel(ATTENTION).supports(q, q[:, :3], q[:, :3], None, **usual)
    assert kernel(ATTENTION).supports(q, q, q, np.ones((1, 1, 1, 5), bool), **usual)
    assert not kernel(ATTENTION).supports(q, q, q, np.ones((1, 4, 1, 5), bool), **usual)
    assert not kernel(ATTENTION).supports(q, q, q, np.ones((1, 1, 1, 5)), **usual)
    tables = {"cos": np.ones((5, 1), np.float32), "sin": np.ones((5, 1), np.float32)}
    assert not kernel("rotary:rotary").supports(q, **tables)
    assert kernel("rotary:rotary").supports(q.swapaxes(1, 2), cos=tables["cos"][:, None], sin=q[0])
    assert not kernel("embedding:embedding").supports(x, x)


def test_ids_out_of_range_are_named_with_their_place():
    logits, table = np.ones((2, 2, 3), np.float32), np.ones((4, 5), np.float32)
    with pytest.raises(IndexError, match=r"targets hold 3 at \(1, 0\); expected 0 to 2"):
        kernel("softmax:cross_entropy").forward(logits, np.array([[0, -100], [3, 1]]))
    with pytest.raises(IndexError, match=r"ids hold -1 at \(2,\); expected 0 to 3"):
        kernel("embedding:embedding").forward(table, np.array([0, 3, -1]))


# AdamW


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(), (1,), (7, 3), (0, 4), (13, 11, 17)])
def test_adamw_steps_as_its_formula_says(shape, dtype, rng):
    lr, beta1, beta2, eps, decay = 0.01, 0.8, 0.95, 1e-8, 0.1
    step = kernel("adamw:adamw_step")
    p, m, v = (
        np.asarray(rng.normal(size=shape), dtype),
        np.zeros(shape, dtype),
        np.zeros(shape, dtype),
    )
    P, M, V = p.astype(np.float64), 0.0, 0.0
    for t in range(1, 5):
        g = np.asarray(rng.normal(size=shape), dtype)
        step(
            p, g, m, v, lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=decay, step=t
        )  # fmt: skip
        G = g.astype(np.float64)
        M, V = beta1 * M + (1 - beta1) * G, beta2 * V + (1 - beta2) * G**2
        P = P - lr * decay * P
        P = P - lr * M / (1 - beta1**t) / (np.sqrt(V / (1 - beta2**t)) + eps)
        assert_close(p, P, dtype)
        assert_close(m, M, dtype)
        assert_close(v, V, dtype)


def test_adamw_number_of_threads_changes_no_bit(rng):
    start = [rng.normal(size=(301, 257)).astype(np.float32) ** 2 for _ in range(4)]
    results = []
    for n in (1, 2, 3):
        threads.set_num_threads(n)
        p, g, m, v = (x.copy() for x in start)
        kernel("adamw:adamw_step")(
            p, g.T.copy().T, m, v, lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.1, step=3
        )
        results.append([p, m, v])
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_adamw_refuses_what_it_cannot_write_or_pair():
    rest = {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.0, "step": 1}
    step, x = kernel("adamw:adamw_step"), np.ones((3, 4), np.float32)
    with pytest.raises(ValueError, match=r"p .* not contiguous"):
        step(np.ones((4, 3), np.float32).T, x, x.copy(), x.copy(), **rest)
    with pytest.raises(ValueError, match=r"g is float64 \(3, 4\); expected float32"):
        step(x, x.astype(np.float64), x.copy(), x.copy(), **rest)
    with pytest.raises(ValueError, match=r"m is float32 \(2, 4\)"):
        step(x, x, x[:2].copy(), x.copy(), **rest)


# Threads


@pytest.mark.parametrize("n_rows", [1, 2, 3, 10, 4097])
@pytest.mark.parametrize("grain", [1, 64])
def test_every_row_is_visited_once(n_rows, grain):
    threads.set_num_threads(3)
    visits, starts = np.zeros(n_rows, int), []

    def visit(start, stop, step):
        visits[start:stop] += step
        starts.append(start)

    threads.parallel_rows(visit, n_rows, 1, cost=1e9, grain=grain)
    assert (visits == 1).all()
    assert all(start % grain == 0 for start in starts)
    assert len(starts) == min(-(-n_rows // grain), 3 * threads.CHUNKS_PER_THREAD) or n_rows <= 3


def test_no_rows_call_nothing_and_little_work_stays_on_this_thread():
    threads.set_num_threads(2)
    where = []
    threads.parallel_rows(lambda a, b: where.append(threading.get_ident()), 0, cost=1e9)
    assert where == []
    threads.parallel_rows(lambda a, b: where.append((a, b, threading.get_ident())), 50, cost=10)
    assert where == [(0, 50, threading.get_ident())]


def test_exception_in_any_chunk_reaches_the_caller():
    threads.set_num_threads(2)
    done = []

    def work(start, stop):
        if start <= 60 < stop:
            raise ArithmeticError(f"row 60 of {start}:{stop}")
        done.append(stop - start)

    for _ in range(3):
        done.clear()
        with pytest.raises(ArithmeticError, match="row 60"):
            threads.parallel_rows(work, 100, cost=1e9)
        assert 0 < sum(done) < 100


def test_kernels_may_be_called_from_several_threads():
    threads.set_num_threads(2)
    x = np.linspace(-3, 3, 200_001)
    expected, _ = kernel("activation:gelu").forward(x)
    wrong = []

    def work():
        for _ in range(5):
            if not np.array_equal(kernel("activation:gelu").forward(x)[0], expected):
                wrong.append(True)

    callers = [threading.Thread(target=work) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_forked_process_makes_its_own_threads():
    threads.set_num_threads(2)
    threads.parallel_rows(lambda a, b: None, 10, cost=1e9)
    child = os.fork()
    if child == 0:
        seen = []
        threads.parallel_rows(lambda a, b: seen.append(b - a), 10, cost=1e9)
        os._exit(0 if sum(seen) == 10 else 1)
    assert os.waitpid(child, 0)[1] == 0


def python(program, **environment):
    """The lines that a fresh Python prints."""
    environment = {**os.environ, **environment}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def test_environment_sets_the_number_of_threads():
    program = "from minigrad.cpu import threads\ntry: print(threads.num_threads())\n"
    program += "except ValueError as error: print(error)"
    assert python(program, MINIGRAD_NUM_THREADS="3") == ["3"]
    message = "MINIGRAD_NUM_THREADS is 'two'; expected a positive integer"
    assert python(program, MINIGRAD_NUM_THREADS="two") == [message]
    with pytest.raises(ValueError, match="at least 1"):
        threads.set_num_threads(0)


# Compiling


def test_importing_the_package_does_not_import_numba():
    assert python("import sys, minigrad.cpu; print('numba' in sys.modules)") == ["False"]


def test_warm_up_announces_what_it_compiles_and_the_next_process_finds_it(tmp_path):
    program = "from minigrad import cpu; cpu.warm_up(['sigmoid'], print)"
    assert python(program, NUMBA_CACHE_DIR=str(tmp_path)) == ["sigmoid"]
    assert python(program, NUMBA_CACHE_DIR=str(tmp_path)) == []
    another_file_changed = "from minigrad.cpu import _jit; _jit._stamp = lambda: ((1, 2),);"
    program = another_file_changed + program
    assert python(program, NUMBA_CACHE_DIR=str(tmp_path)) == ["sigmoid"]


def test_warm_up_leaves_nothing_to_compile():
    from numba.core import event

    cpu.warm_up()
    with event.install_recorder("numba:compile") as compiled:
        cpu.warm_up(announce=pytest.fail)
    assert not compiled.buffer


def test_warm_up_refuses_an_unknown_kernel():
    with pytest.raises(ValueError, match=r"'gleu'.*gelu"):
        cpu.warm_up(["gleu"])


# Against PyTorch


@pytest.mark.reference
@pytest.mark.parametrize("shape", [(4, 6, 6, 256, 64), (12, 4, 2, 64, 32)])
def test_attention_agrees_with_torch(shape, rng):
    torch = pytest.importorskip("torch")
    B, n_h, n_kv, L, H = shape
    arrays = make(rng, heads(B, n_h, n_kv, L, L, H), np.float32)
    g = cotangent(rng)(np.empty((B, n_h, L, H), np.float32))
    out, gradients = run(kernel(ATTENTION), arrays, {"causal": True}, g)
    inputs = [torch.tensor(x, requires_grad=True) for x in arrays[:3]]
    theirs = torch.nn.functional.scaled_dot_product_attention(
        *inputs, is_causal=True, enable_gqa=n_h != n_kv
    )
    assert_close(out, theirs.detach(), np.float32)
    for d, other in zip(gradients, torch.autograd.grad(theirs, inputs, torch.tensor(g))):
        assert_close(d, other, np.float32)


@pytest.mark.reference
def test_fused_ops_agree_with_torch(rng):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    x, w, b = make(rng, [normal(1024, 384), normal(384), normal(384)], np.float32)
    logits, ids = make(rng, [normal(1024, 65), targets(65, 1024)], np.float32)
    pairs = [
        ("activation:gelu", [x], {}, F.gelu),
        ("activation:gelu", [x], {"approximate": "tanh"}, lambda x: F.gelu(x, approximate="tanh")),
        ("activation:silu", [x], {}, F.silu),
        ("norm:layer_norm", [x, w, b], {}, lambda x, w, b: F.layer_norm(x, (384,), w, b)),
        ("norm:rms_norm", [x, w], {"eps": 1e-6}, lambda x, w: F.rms_norm(x, (384,), w, 1e-6)),
        ("softmax:softmax", [x], {}, lambda x: F.softmax(x, -1)),
        ("softmax:log_softmax", [x], {}, lambda x: F.log_softmax(x, -1)),
        (
            "softmax:cross_entropy",
            [logits, ids],
            {"label_smoothing": 0.1},
            lambda x, t: F.cross_entropy(x, t, label_smoothing=0.1),
        ),
    ]
    for where, arrays, params, peer in pairs:
        seen = []
        g = lambda o, seen=seen: seen.append(cotangent(rng)(o)) or seen[0]
        out, gradients = run(kernel(where), arrays, params, g)
        inputs = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
        theirs = peer(*inputs)
        assert_close(out, theirs.detach(), np.float32, where)
        theirs.backward(torch.tensor(seen[0]))
        for d, other in zip(gradients, inputs):
            if d is not None:
                assert_close(d, other.grad, np.float32, where, factor=4)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shapes",
    [
        ((2, 4, 5, 6), (2, 2, 7, 6), (2, 2, 7, 3)),
        ((1, 1, 1, 3), (1, 1, 1, 3), (1, 1, 1, 3)),
        ((2, 3, 70, 8), (2, 3, 65, 8), (2, 3, 65, 8)),
        ((1, 6, 3, 64), (1, 1, 40, 64), (1, 1, 40, 64)),
    ],
)
def test_attention_pushes_tangents_as_its_specification_does(shapes, dtype, causal):
    """Ragged, grouped and wide; with 70 queries and 65 keys, causal, five queries see nothing."""
    random = np.random.default_rng(0)
    at = [random.standard_normal(shape).astype(dtype) for shape in shapes]
    along = [random.standard_normal(shape).astype(dtype) for shape in shapes]

    def attend(q, k, v):
        return mg.scaled_dot_product_attention(q, k, v, causal=causal)

    def keys_alone(k):
        return attend(at[0], k, at[2])

    for f, x, u in ((attend, at, along), (keys_alone, at[1:2], along[1:2])):
        found = mg.jvp(f, x, u)
        with mg.use_kernels(False):
            wanted = mg.jvp(f, x, u)
        for each, reference in zip(found, wanted, strict=True):
            tolerance = 2e-5 if dtype == np.float32 else 1e-12
            np.testing.assert_allclose(each, reference, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "f",
    [mg.gelu, lambda x: mg.gelu(x, approximate="tanh"), mg.silu, mg.softmax],
    ids=["gelu", "gelu-tanh", "silu", "softmax"],
)
def test_symmetric_kernels_push_tangents_as_their_specifications_do(f):
    random = np.random.default_rng(1)
    x, u = random.standard_normal((2, 3, 37)).astype(np.float32)
    found = mg.jvp(f, (x,), (u,))
    with mg.use_kernels(False):
        wanted = mg.jvp(f, (x.astype(np.float64),), (u.astype(np.float64),))
    for each, reference in zip(found, wanted, strict=True):
        assert each.dtype == np.float32
        np.testing.assert_allclose(each, reference, rtol=2e-5, atol=2e-6)
