"""Every op's value, dtype and shape against an independent formulation in NumPy or `math`."""

import math

import numpy as np
import pytest
from checking import BFLOAT16, HALVES, as_numpy, assert_close, is_floating, tolerance
from hypothesis import given
from hypothesis import strategies as st
from ops_table import OPS, Case

import minigrad as mg

HALF_OPS = [op for op in OPS if op.half and op.numpy is not None]
REFERENCED = [op for op in OPS if op.numpy is not None]


def by_name(ops):
    return pytest.mark.parametrize("op", ops, ids=lambda op: op.name)


def cast(array, dtype):
    return array.astype(dtype) if is_floating(array) else array


def outputs(value):
    return list(value) if isinstance(value, list | tuple) else [value]


def check_value(op, case, dtype, device):
    """The op on Tensors of `dtype` equals the reference on the same numbers in float64."""
    arrays = [cast(array, dtype) for array in op.arrays(case)]
    found = op.call(*(mg.tensor(array, device=device) for array in arrays), **case.params)
    reference = [cast(array, np.float64) for array in arrays]
    expected = outputs(op.numpy(*reference, **case.params))
    half = np.dtype(dtype) in HALVES
    for each, wanted in zip(outputs(found), expected, strict=True):
        assert isinstance(each, mg.Tensor)
        assert each.device == device
        wanted = np.asarray(wanted)
        message = f"{op.name} of {case}"
        if op.gives == "bool":
            assert each.dtype == np.bool_
        elif op.gives == "int":
            assert each.dtype == np.int64
        elif op.gives == "float64":
            assert each.dtype == np.float64
        else:
            assert each.dtype == dtype, f"{message}: dtype {each.dtype}, not {np.dtype(dtype)}"
        factor = op.roundings if half else max(1.0, op.roundings / 4)
        compared = dtype if each.dtype.kind != "b" else np.bool_
        compared = np.int64 if op.gives == "int" else compared
        assert_close(each, wanted, compared, message, factor)


@by_name(REFERENCED)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_ops_agree_with_the_reference_on_ragged_shapes(op, dtype, device):
    for case in op.examples:
        check_value(op, case, dtype, device)


@by_name(HALF_OPS)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_ops_agree_with_the_reference_in_half_precision(op, dtype, device):
    for case in op.examples:
        check_value(op, case, dtype, device)


@by_name(REFERENCED)
@given(data=st.data())
def test_ops_agree_with_the_reference_on_drawn_shapes(op, data, device):
    check_value(op, data.draw(op.cases), np.float64, device)


@by_name(OPS)
def test_ops_leave_their_arguments_alone(op):
    for case in op.examples:
        arrays = op.arrays(case)
        before = [array.copy() for array in arrays]
        op.call(*(mg.Tensor.constant(array) for array in arrays), **case.params)
        for array, kept in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(array, kept)


@by_name([op for op in OPS if op.differentiable and op.name != "cholesky"])
def test_plain_arrays_give_the_same_values_as_plain_arrays(op, xp):
    """Ops called on arrays compute arrays; methods and operators of arrays are NumPy's own."""
    for case in op.examples[:2]:
        arrays = [xp.asarray(array) for array in op.arrays(case)]
        from_arrays = outputs(op.call(*arrays, **case.params)) if op.name != "dropout" else []
        if op.name == "dropout":
            continue
        from_tensors = outputs(op.call(*(mg.tensor(a) for a in arrays), **case.params))
        for bare, wrapped in zip(from_arrays, from_tensors, strict=True):
            assert not isinstance(bare, mg.Tensor)
            assert_close(bare, wrapped)


NAMES_OF_THE_ISSUE = """
    add subtract multiply divide negative power where clip maximum minimum abs sign exp expm1 log
    log1p sqrt sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh arccosh arctanh erf sigmoid
    softplus relu gelu silu sum mean var std norm max min logsumexp cumsum prod reshape transpose
    expand_dims squeeze broadcast_to concatenate stack split pad flip tile roll take take_along_axis
    scatter_add tril triu sort topk matmul einsum dot outer trace inv solve cholesky softmax
    log_softmax cross_entropy layer_norm rms_norm scaled_dot_product_attention embedding dropout
    equal not_equal less less_equal greater greater_equal getitem
"""


@pytest.mark.parametrize("name", NAMES_OF_THE_ISSUE.split())
def test_every_promised_op_is_public_and_in_the_table(name):
    assert callable(getattr(mg, name))
    assert any(op.name == name or op.name.startswith(f"{name}-") for op in OPS)


def test_every_public_op_is_in_the_table():
    """What is left out has no values to compare, or a test of its own in this file."""
    elsewhere = {"astype", "positive", "stop_gradient", "to_device", "one_hot", "causal_mask"}
    elsewhere |= {"contraction_cost"}
    covered = {op.name.split("-")[0] for op in OPS} | elsewhere
    assert set(mg.ops.__all__) - covered == set()


# What the table cannot say


def test_integer_inputs_keep_their_dtype_where_numpy_does(device):
    n = mg.tensor(np.array([[3, -1, 4], [1, -5, 9]], np.int32), device=device)
    values = n.numpy()
    for name in ("negative", "abs", "sort", "flip", "transpose", "tril"):
        out = getattr(mg, name)(n)
        assert out.dtype == np.int32, name
    np.testing.assert_array_equal(mg.max(n, axis=1).numpy(), [4, 9])
    np.testing.assert_array_equal(mg.sort(n).numpy(), np.sort(values))
    np.testing.assert_array_equal(mg.topk(n, 2)[0].numpy(), [[4, 3], [9, 1]])
    np.testing.assert_array_equal(mg.matmul(n, mg.transpose(n)).numpy(), values @ values.T)
    np.testing.assert_array_equal(mg.cumsum(n, axis=1).numpy(), np.cumsum(values, axis=1))
    np.testing.assert_array_equal((n**2).numpy(), values**2)
    np.testing.assert_array_equal(mg.prod(n, axis=0).numpy(), [3, 5, 36])
    np.testing.assert_array_equal(mg.pad(n, 1).numpy(), np.pad(values, 1))
    np.testing.assert_array_equal(mg.einsum("ij,kj->ik", n, n).numpy(), values @ values.T)


def test_functions_of_integers_are_floating_as_in_numpy(device):
    n = mg.tensor(np.array([1, 2, 4]), device=device)
    for name in ("exp", "log", "sqrt", "sin", "tanh", "reciprocal"):
        assert getattr(mg, name)(n).dtype == np.float64, name
    np.testing.assert_allclose(mg.log2(n).numpy(), [0.0, 1.0, 2.0])


def test_topk_gives_the_values_largest_first_and_where_they_were(device):
    x = np.array([[0.3, 2.0, -1.0, 0.7], [5.0, -2.0, 4.0, 4.5]])
    values, indices = mg.topk(mg.tensor(x, device=device), 3)
    np.testing.assert_array_equal(values.numpy(), [[2.0, 0.7, 0.3], [5.0, 4.5, 4.0]])
    np.testing.assert_array_equal(indices.numpy(), [[1, 3, 0], [0, 3, 2]])
    assert indices.dtype == np.int64
    values, indices = mg.topk(mg.tensor(x, device=device), 1, axis=0)
    np.testing.assert_array_equal(indices.numpy(), [[1, 0, 1, 1]])


def test_scatter_add_takes_a_python_number(device):
    x = mg.tensor(np.arange(4, dtype=np.float32), device=device)
    out = mg.scatter_add(x, np.array([1, 3, 1]), 0.5)
    np.testing.assert_array_equal(out.numpy(), np.array([0, 2, 2, 3.5], np.float32))
    assert out.dtype == np.float32


def test_split_takes_numpy_integers(device):
    pieces = mg.split(mg.tensor(np.arange(6.0), device=device), np.int64(3))
    assert [piece.shape for piece in pieces] == [(2,)] * 3


def test_argmax_takes_the_first_of_equals(device):
    x = mg.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 0.0]], device=device)
    np.testing.assert_array_equal(mg.argmax(x, axis=1).numpy(), [1, 0])
    np.testing.assert_array_equal(mg.argmin(x, axis=0).numpy(), [0, 1, 1])
    np.testing.assert_array_equal(mg.argsort(x, axis=1).numpy(), [[0, 1, 2], [2, 0, 1]])


def test_one_hot_marks_each_class(device):
    hot = mg.one_hot(mg.tensor([[2, 0], [1, 1]], device=device), 3)
    expected = [[[0, 0, 1], [1, 0, 0]], [[0, 1, 0], [0, 1, 0]]]
    np.testing.assert_array_equal(as_numpy(hot), np.array(expected, np.float32))


def test_cumsum_in_half_precision_is_kept_in_single():
    ones = mg.tensor(np.ones(3000, np.float16))
    assert mg.cumsum(ones, axis=0).numpy()[-1] == 3000


def test_matmul_in_half_precision_multiplies_in_single():
    """The inner sum of 4096 ones is exact; added up in float16 it would stop at 2048."""
    for dtype in HALVES:
        x = mg.tensor(np.ones((1, 4096), dtype))
        out = mg.matmul(x, mg.transpose(x))
        assert out.dtype == dtype
        assert float(out.numpy()[0, 0]) == 4096
        assert float(mg.einsum("ij,kj->ik", x, x).numpy()[0, 0]) == 4096


FLOATS = [np.dtype(np.float16), BFLOAT16, np.dtype(np.float32), np.dtype(np.float64)]
WITH_A_COMMON_DTYPE = [(a, b) for a in FLOATS for b in FLOATS if {a, b} != set(HALVES)]


@pytest.mark.parametrize(("left", "right"), WITH_A_COMMON_DTYPE)
def test_products_of_mixed_dtypes_promote_as_numpy_does(left, right):
    x = mg.tensor(np.array([[0.5, 2.0]], left))
    y = mg.tensor(np.array([[4.0], [0.25]], right))
    wanted = np.result_type(np.dtype(left), np.dtype(right))
    for product in (x @ y, mg.einsum("ij,jk->ik", x, y), mg.concatenate([x, mg.transpose(y)])):
        assert product.dtype == wanted
    assert float((x @ y).numpy()[0, 0]) == 2.5


@pytest.mark.parametrize(("left", "right"), [HALVES, HALVES[::-1]])
def test_the_two_halves_compute_with_each_other_in_single(left, right):
    """Neither holds the other's values, so sums and products of the two are float32."""
    x = mg.tensor(np.array([[0.5, 2.0]], left))
    y = mg.tensor(np.array([[4.0], [0.25]], right))
    for out, wanted in ((x + mg.transpose(y), 4.5), (x @ y, 2.5), (mg.einsum("ij,jk", x, y), 2.5)):
        assert out.dtype == np.float32
        assert float(out.numpy()[0, 0]) == wanted


def test_dropout_zeroes_about_p_and_scales_the_rest(device):
    mg.manual_seed(3)
    x = mg.tensor(np.linspace(1.0, 2.0, 20_000), device=device)
    out = mg.dropout(x, p=0.3).numpy()
    kept = out != 0
    np.testing.assert_allclose(out[kept], x.numpy()[kept] / 0.7, rtol=1e-12)
    spread = math.sqrt(0.3 * 0.7 / 20_000)
    assert abs(kept.mean() - 0.7) < 4 * spread


def test_dropout_draws_anew_for_every_call():
    mg.manual_seed(3)
    x = mg.tensor(np.ones(100))
    assert (mg.dropout(x).numpy() != mg.dropout(x).numpy()).any()


def test_dropout_keeps_the_dtype():
    for dtype in (np.float16, BFLOAT16, np.float32, np.float64):
        assert mg.dropout(mg.tensor(np.ones(5, dtype)), p=0.4).dtype == dtype


def test_fused_ops_normalise_in_single_when_given_half():
    """Values whose squares overflow float16 still normalise."""
    x = np.array([[300.0, -400.0, 500.0, 100.0]])
    for dtype in HALVES:
        found = mg.layer_norm(mg.tensor(x.astype(dtype))).numpy().astype(np.float64)
        rounded = x.astype(dtype).astype(np.float64)
        centred = rounded - rounded.mean()
        expected = centred / np.sqrt((centred**2).mean() + 1e-5)
        np.testing.assert_allclose(found, expected, rtol=2 * tolerance(dtype))
        found = mg.rms_norm(mg.tensor(x.astype(dtype))).numpy().astype(np.float64)
        expected = rounded / np.sqrt((rounded**2).mean())
        np.testing.assert_allclose(found, expected, rtol=2 * tolerance(dtype))


def test_attention_adds_a_floating_mask_to_the_scores(device):
    rng = np.random.default_rng(5)
    q, k, v = (rng.standard_normal((1, 2, n, 4)) for n in (3, 5, 5))
    bias = rng.standard_normal((1, 2, 3, 5))
    found = mg.scaled_dot_product_attention(
        *(mg.tensor(a, device=device) for a in (q, k, v)), mask=mg.tensor(bias, device=device)
    )
    scores = np.einsum("bhid,bhjd->bhij", q, k) / 2.0 + bias
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    assert_close(found, weights @ v)


def test_einsum_counts_the_cost_of_the_order_it_chooses():
    """A (2, 3) x B (3, 4) x C (4, 100): (AB)C costs 24 + 800, A(BC) 1200 + 600, at once 2400."""
    at_once, chosen, path = mg.contraction_cost("ij,jk,kl->il", (2, 3), (3, 4), (4, 100))
    assert (at_once, chosen) == (2400, 824)
    assert path[0] == (0, 1)


def test_the_example_shapes_cover_what_the_issue_names():
    """0-d, empty, size 1, broadcast and non-contiguous arguments are all in the table."""
    cases = [case for op in OPS for case in op.examples]
    assert any(() in case.shapes for case in cases)
    assert any(0 in shape for case in cases for shape in case.shapes)
    assert any(1 in shape for case in cases for shape in case.shapes)
    assert {case.layout for case in cases} >= {"contiguous", "transposed", "strided", "reversed"}
    exp = next(op for op in OPS if op.name == "exp")
    strided = exp.arrays(Case(((3, 4),), layout="strided"))[0]
    assert not strided.flags.c_contiguous


@pytest.mark.parametrize(
    "op",
    [
        "softmax",
        "log_softmax",
        "logsumexp",
        "layer_norm",
        "rms_norm",
        "norm",
        "gelu",
        "silu",
        "erf",
    ],
)
def test_integers_are_not_rounded_back_to_integers(op):
    x = np.array([1, 2, 4])
    found = getattr(mg, op)(x)
    assert found.dtype == np.float64
    assert_close(found, getattr(mg, op)(x.astype(np.float64)))


def test_a_numpy_float64_exponent_promotes_whatever_its_value():
    x = np.array([1.5, 2.5], np.float32)
    for exponent in (2.0, 3.0):
        assert mg.power(x, np.float64(exponent)).dtype == np.float64
        assert mg.power(x, exponent).dtype == np.float32


def test_triangles_keep_bools():
    x = np.ones((2, 3), bool)
    for found, wanted in ((mg.tril(x), np.tril(x)), (mg.triu(x), np.triu(x))):
        assert found.dtype == np.bool_
        np.testing.assert_array_equal(found, wanted)


def test_remainder_and_floor_division_take_a_number_on_the_left():
    x = mg.tensor([2.0, 3.0])
    assert (7 % x).tolist() == [1.0, 1.0]
    assert (7 // x).tolist() == [3.0, 2.0]
