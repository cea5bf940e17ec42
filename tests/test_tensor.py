"""Tensors: how they are made, how dtypes combine, and how `backward` treats leaves and graphs."""

import array
import copy
import gc
import pickle
import sys
import weakref

import numpy as np
import pytest
from checking import BFLOAT16, as_numpy, assert_close, tolerance

import minigrad as mg

X = np.array([[0.5, -1.5, 2.0], [3.0, 0.25, -0.75]])
FLOATS = [np.dtype(np.float16), BFLOAT16, np.dtype(np.float32), np.dtype(np.float64)]


def leaf(array, device="cpu"):
    return mg.tensor(array, device=device, requires_grad=True)


# Construction


@pytest.mark.parametrize(
    ("data", "dtype", "shape"),
    [
        (2.5, np.float32, ()),
        (3, np.int64, ()),
        (True, np.bool_, ()),
        ([1.5, 2.5], np.float32, (2,)),
        ([[1, 2, 3], [4, 5, 6]], np.int64, (2, 3)),
        ([1, 2.5], np.float32, (2,)),
        ([True, False, True], np.bool_, (3,)),
        ((1.0, 2.0), np.float32, (2,)),
        ([[1.5], [2.5]], np.float32, (2, 1)),
        ([], np.float32, (0,)),
        ([[], []], np.float32, (2, 0)),
    ],
)
def test_python_numbers_and_lists_become_float32_int64_or_bool(data, dtype, shape, device):
    tensor = mg.tensor(data, device=device)
    assert tensor.dtype == dtype
    assert tensor.shape == shape
    np.testing.assert_array_equal(tensor.numpy(), np.array(data, dtype=dtype))


@pytest.mark.parametrize("dtype", [*FLOATS, np.int8, np.int32, np.int64, np.uint8, np.bool_])
def test_arrays_keep_their_dtype(dtype, device):
    array = (X * 4).astype(dtype)
    tensor = mg.tensor(array, device=device)
    assert tensor.dtype == dtype
    np.testing.assert_array_equal(tensor.numpy(), array)


def test_numpy_scalars_keep_their_dtype(device):
    assert mg.tensor(np.float64(2.5), device=device).dtype == np.float64
    assert mg.tensor(np.int32(2), device=device).dtype == np.int32
    assert mg.tensor(np.float16(2.5), device=device).shape == ()


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64", "int32", "bool"])
def test_dtype_can_be_given_by_name(name, device):
    tensor = mg.tensor([1.5, 0.0, -2.0], dtype=name, device=device)
    assert tensor.dtype.name == name
    assert mg.tensor(X, dtype=np.float32, device=device).dtype == np.float32


def test_a_list_of_tensors_becomes_one_tensor():
    rows = [mg.tensor([1.0, 2.0]), mg.tensor([3.5, -4.0])]
    np.testing.assert_array_equal(mg.tensor(rows).numpy(), [[1.0, 2.0], [3.5, -4.0]])


def test_a_tensor_owns_its_memory():
    array = X.copy()
    tensor = mg.tensor(array)
    array[0, 0] = 99.0
    assert tensor.numpy()[0, 0] == 0.5


def test_attributes_describe_the_array(device):
    tensor = mg.tensor(X, device=device)
    assert (tensor.shape, tensor.ndim, tensor.size) == ((2, 3), 2, 6)
    assert tensor.dtype == np.float64
    assert tensor.device == device
    assert len(tensor) == 2
    assert not tensor.requires_grad
    assert tensor.grad is None
    assert tensor.T.shape == (3, 2)
    assert isinstance(tensor.numpy(), np.ndarray)


def test_item_gives_a_python_number():
    assert mg.tensor([[2.5]]).item() == 2.5
    assert type(mg.tensor([[2.5]]).item()) is float
    assert type(mg.tensor(3).item()) is int
    assert type(mg.tensor(True).item()) is bool
    assert float(mg.tensor(1.5)) == 1.5
    assert int(mg.tensor(7)) == 7
    assert bool(mg.tensor([0.0])) is False


def test_a_tensor_prints_its_values_and_what_it_is():
    text = repr(mg.tensor([1.5, -2.0], dtype="float64", requires_grad=True))
    assert "1.5" in text
    assert "-2" in text
    assert "float64" in text
    assert "requires_grad" in text


def test_a_tensor_is_iterated_by_rows():
    rows = list(mg.tensor(X))
    assert len(rows) == 2
    np.testing.assert_array_equal(rows[1].numpy(), X[1])


def test_tensors_are_hashed_by_identity():
    a, b = mg.tensor([1.0]), mg.tensor([1.0])
    assert len({a, b}) == 2


def test_numpy_converts_a_tensor_and_leaves_operators_to_it():
    tensor = mg.tensor(X)
    np.testing.assert_array_equal(np.asarray(tensor), X)
    for result in (X + tensor, X * tensor, X - tensor, X / tensor, X @ tensor.T):
        assert isinstance(result, mg.Tensor)
    np.testing.assert_array_equal((X - tensor * 2.0).numpy(), -X)


def test_operators_with_python_numbers_on_either_side():
    t = mg.tensor(X)
    np.testing.assert_array_equal((3.0 - t).numpy(), 3.0 - X)
    np.testing.assert_array_equal((3.0 / t).numpy(), 3.0 / X)
    np.testing.assert_array_equal((2.0**t).numpy(), 2.0**X)
    np.testing.assert_array_equal((t**2).numpy(), X**2)
    np.testing.assert_array_equal((-t).numpy(), -X)
    np.testing.assert_array_equal(abs(t).numpy(), np.abs(X))
    np.testing.assert_array_equal((t > 0.3).numpy(), X > 0.3)
    np.testing.assert_array_equal((t <= 0.25).numpy(), X <= 0.25)
    np.testing.assert_array_equal((t == 0.25).numpy(), X == 0.25)
    np.testing.assert_array_equal((t != 0.25).numpy(), X != 0.25)


def test_augmented_assignment_makes_a_new_tensor():
    x = leaf(X)
    y = x
    y = y * 1.0
    before = y
    y += 2.0
    y *= 3.0
    np.testing.assert_array_equal(before.numpy(), X)
    mg.sum(y).backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full((2, 3), 3.0))


METHODS = [
    ("sum", (1,), lambda x: x.sum(1)),
    ("mean", (), lambda x: x.mean()),
    ("max", (0,), lambda x: x.max(0)),
    ("min", (1,), lambda x: x.min(1)),
    ("reshape", (3, 2), lambda x: x.reshape(3, 2)),
    ("reshape", (-1,), lambda x: x.reshape(-1)),
    ("reshape", ((6,),), lambda x: x.reshape(6)),
    ("transpose", (), lambda x: x.transpose()),
    ("transpose", (1, 0), lambda x: x.transpose(1, 0)),
    ("swapaxes", (0, 1), lambda x: x.swapaxes(0, 1)),
]


@pytest.mark.parametrize(("name", "args", "reference"), METHODS)
def test_methods_do_what_the_functions_do(name, args, reference):
    assert_close(getattr(mg.tensor(X), name)(*args), reference(X))


def test_methods_take_axis_and_keepdims():
    t = mg.tensor(X)
    assert t.sum(axis=0, keepdims=True).shape == (1, 3)
    assert t.mean(axis=-1, keepdims=True).shape == (2, 1)
    assert t.max(axis=(0, 1)).shape == ()


# Dtypes


@pytest.mark.parametrize("left", [*FLOATS, np.int32, np.int64, np.uint8, np.bool_])
@pytest.mark.parametrize("right", [*FLOATS, np.int32, np.int64, np.uint8, np.bool_])
def test_binary_ops_promote_as_numpy_does(left, right, device):
    """bfloat16 is no NumPy dtype of its own right; ml_dtypes registers its promotions there."""
    x = np.array([1, 0, 2]).astype(left)
    y = np.array([[2], [1]]).astype(right)
    found = mg.add(mg.tensor(x, device=device), mg.tensor(y, device=device))
    expected = np.add(x, y)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("dtype", FLOATS)
def test_python_scalars_are_weak(dtype, device):
    """A Python number takes the tensor's floating-point dtype, and so do the gradients."""
    x = mg.tensor(X.astype(dtype), device=device, requires_grad=True)
    for f in (
        lambda x: x + 1.5,
        lambda x: 2 * x,
        lambda x: 1.0 - x,
        lambda x: x / 3,
        lambda x: 2.0 / x,
        lambda x: x**2,
        lambda x: x**2.0,
        lambda x: 2.0**x,
        lambda x: mg.maximum(x, 0.25),
        lambda x: mg.where(x > 0, x, 0.5),
        lambda x: mg.clip(x, -1.0, 1.0),
        lambda x: mg.add(1.5, x),
        lambda x: mg.power(2.0, x),
    ):
        out = f(x)
        assert out.dtype == dtype
        x.grad = None
        mg.sum(out).backward()
        assert x.grad.dtype == dtype


def test_a_python_float_lifts_integers_to_floating_point(device):
    """As NumPy: int64 with a Python float is float64, and true division always is floating."""
    n = mg.tensor([1, 2, 4], device=device)
    assert (n + 1).dtype == np.int64
    assert (n * 1.5).dtype == (np.array([1]) * 1.5).dtype
    assert (n / 2).dtype == (np.array([1]) / 2).dtype


@pytest.mark.parametrize("dtype", FLOATS)
def test_astype_is_differentiable_back_to_the_source_dtype(dtype):
    x = leaf(X)
    y = x.astype(dtype)
    assert y.dtype == dtype
    (y * 2.0).sum().backward(mg.tensor(1.0, dtype=dtype))
    assert x.grad.dtype == np.float64
    np.testing.assert_array_equal(x.grad.numpy(), np.full((2, 3), 2.0))


@pytest.mark.parametrize("dtype", FLOATS)
def test_reductions_keep_their_floating_dtype(dtype, device):
    x = mg.tensor(X.astype(dtype), device=device)
    for name in ("sum", "mean", "var", "std", "max", "prod", "logsumexp"):
        assert getattr(mg, name)(x, axis=1).dtype == dtype, name


def test_sums_of_half_precision_are_kept_in_single():
    """Added one by one in float16, 4096 ones stop at 2048; the mean of 70,000 would overflow."""
    ones = np.ones(4096, np.float16)
    assert mg.sum(mg.tensor(ones)).item() == 4096
    assert mg.mean(mg.tensor(np.full(70_000, 2.0, np.float16))).item() == 2.0
    assert mg.sum(mg.tensor(np.ones(1000, BFLOAT16))).item() == 1000


def test_integers_and_bools_count_as_numpy_does(device):
    flags = mg.tensor([True, False, True, True], device=device)
    assert mg.sum(flags).item() == 3
    assert mg.sum(flags).dtype == np.int64
    assert mg.mean(mg.tensor([1, 2, 4], device=device)).dtype == np.float64
    assert mg.sum(mg.tensor(np.array([100, 100, 100], np.uint8), device=device)).item() == 300


# backward and .grad


def test_backward_fills_grad_of_the_leaves_as_tensors(device):
    w, x = leaf(X, device), leaf(X[0] * 2, device)
    loss = mg.sum(mg.matmul(w, x) ** 2)
    loss.backward()
    inner = X @ (X[0] * 2)
    assert isinstance(w.grad, mg.Tensor)
    assert_close(w.grad, 2 * np.outer(inner, X[0] * 2))
    assert_close(x.grad, 2 * X.T @ inner)
    assert w.grad.dtype == w.dtype
    assert w.grad.device == device
    assert not w.grad.requires_grad


def test_gradients_accumulate_until_they_are_cleared(device):
    x = leaf(X, device)
    for times in (1, 2, 3):
        mg.sum(x**2).backward()
        assert_close(x.grad, times * 2 * X)
    x.grad = None
    mg.sum(x).backward()
    assert_close(x.grad, np.ones((2, 3)))


def test_a_leaf_used_several_times_gets_the_sum(device):
    x = leaf(X, device)
    mg.sum(x * x + mg.sin(x) * x - x).backward()
    assert_close(x.grad, 2 * X + np.cos(X) * X + np.sin(X) - 1)


def test_accumulation_does_not_write_into_a_gradient_somebody_holds(device):
    x = leaf(X, device)
    mg.sum(3.0 * x).backward()
    first = x.grad
    kept = first.numpy().copy()
    mg.sum(5.0 * x).backward()
    np.testing.assert_array_equal(first.numpy(), kept)
    assert_close(x.grad, np.full((2, 3), 8.0))


def test_leaves_do_not_share_the_array_of_one_gradient():
    """x + y hands both the same cotangent; writing into one gradient leaves the other alone."""
    x, y = leaf(X), leaf(X * 2)
    mg.sum((x + y) * 3.0).backward()
    x.grad.data[...] = 7.0
    np.testing.assert_array_equal(y.grad.numpy(), np.full((2, 3), 3.0))


def test_leaves_do_not_share_a_gradient_through_a_view():
    """The transpose's gradient is a view of the array that the other leaf gets."""
    x, y = leaf(X), leaf(X.T.copy())
    mg.sum((x.T + y) * 3.0).backward()
    assert not np.shares_memory(x.grad.data, y.grad.data)


def test_backward_takes_the_gradient_of_a_non_scalar(device):
    x = leaf(X, device)
    g = np.array([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]])
    (x**3).backward(mg.tensor(g, device=device))
    assert_close(x.grad, 3 * X**2 * g)


def test_backward_takes_a_plain_array_as_gradient():
    x = leaf(X)
    (x * 2.0).backward(X)
    assert_close(x.grad, 2 * X)


def test_a_size_one_output_needs_no_gradient_argument():
    x = leaf(X)
    mg.sum(x, axis=(0, 1), keepdims=True).backward()
    assert_close(x.grad, np.ones((2, 3)))


def test_backward_on_the_leaf_itself():
    x = leaf(np.array(2.5))
    x.backward()
    assert_close(x.grad, 1.0)


def test_the_graph_is_freed_after_backward_unless_retained(device):
    x = leaf(X, device)
    loss = mg.sum(mg.exp(x) * x)
    loss.backward(retain_graph=True)
    loss.backward(retain_graph=True)
    assert_close(x.grad, 2 * np.exp(X) * (1 + X))
    loss.backward()
    with pytest.raises(RuntimeError, match="retain_graph"):
        loss.backward()
    assert_close(x.grad, 3 * np.exp(X) * (1 + X))


def test_a_shared_part_that_was_freed_is_reported_from_a_second_loss():
    x = leaf(X)
    shared = mg.exp(x)
    mg.sum(shared * x).backward()
    with pytest.raises(RuntimeError, match="retain_graph"):
        mg.sum(shared * 2.0).backward()


def test_create_graph_makes_gradients_that_can_be_differentiated(device):
    x = leaf(X, device)
    mg.sum(x**3).backward(create_graph=True)
    first = x.grad
    assert first.requires_grad
    x.grad = None
    mg.sum(first**2).backward()
    assert_close(x.grad, 2 * 3 * X**2 * 6 * X)


def test_create_graph_keeps_the_graph_alive():
    x = leaf(X)
    loss = mg.sum(x**3)
    loss.backward(create_graph=True)
    x.grad = None
    loss.backward()
    assert_close(x.grad, 3 * X**2)


def test_what_requires_no_gradient_gets_none(device):
    x, constant = leaf(X, device), mg.tensor(X, device=device)
    y = x * constant
    assert y.requires_grad
    assert not (constant * 2.0).requires_grad
    mg.sum(y).backward()
    assert constant.grad is None


def test_intermediate_values_keep_no_gradient():
    x = leaf(X)
    y = x * 2.0
    mg.sum(y * y).backward()
    assert y.grad is None
    assert_close(x.grad, 8 * X)


def test_detach_shares_values_and_stops_gradients():
    x = leaf(X)
    y = x.detach()
    assert not y.requires_grad
    np.testing.assert_array_equal(y.numpy(), X)
    mg.sum(x * y).backward()
    assert_close(x.grad, X)


def test_integer_results_are_no_part_of_the_graph():
    x = leaf(X)
    for result in (x > 0, mg.sign(x) > 0, mg.topk(x, 2)[1], x.astype("int64")):
        assert not result.requires_grad


def test_moving_to_a_device_is_differentiable(device):
    x = leaf(X)
    y = x.to(device)
    assert y.device == device
    mg.sum(y**2).backward()
    assert x.grad.device == "cpu"
    assert_close(x.grad, 2 * X)


# Writing in place


def test_a_leaf_can_be_written_under_no_grad(device):
    x = leaf(X, device)
    with mg.no_grad():
        x[0] = 7.0
        x[1, 2] = -1.0
    expected = X.copy()
    expected[0], expected[1, 2] = 7.0, -1.0
    np.testing.assert_array_equal(x.numpy(), expected)
    with mg.no_grad():
        x.copy_(X * 2)
    np.testing.assert_array_equal(x.numpy(), X * 2)
    assert x.requires_grad
    mg.sum(x**2).backward()
    assert_close(x.grad, 4 * X)


def test_writing_a_tensor_that_needs_gradients_outside_no_grad_is_an_error():
    x = leaf(X)
    with pytest.raises(RuntimeError, match="no_grad"):
        x[0] = 1.0
    with pytest.raises(RuntimeError, match="no_grad"):
        x.copy_(X)
    np.testing.assert_array_equal(x.numpy(), X)


def test_writing_what_a_graph_has_saved_is_an_error_at_backward(device):
    x = leaf(X, device)
    loss = mg.sum(x**2)
    with mg.no_grad():
        x[0] = 5.0
    with pytest.raises(RuntimeError, match="in place"):
        loss.backward()


def test_writing_through_a_view_is_noticed_too():
    x = mg.tensor(X)
    w = leaf(X)
    loss = mg.sum(w * x[0])
    with mg.no_grad():
        x[0, 1] = 100.0
    with pytest.raises(RuntimeError, match="in place"):
        loss.backward()


def test_writing_what_no_rule_needs_is_allowed():
    """The derivative of a sum needs no values, so the graph is not stale."""
    x = leaf(X)
    loss = mg.sum(x + 1.0)
    with mg.no_grad():
        x[0] = 5.0
    loss.backward()
    assert_close(x.grad, np.ones((2, 3)))


def test_writing_an_unrelated_tensor_is_allowed():
    x, other = leaf(X), leaf(X)
    loss = mg.sum(x**2)
    with mg.no_grad():
        other[0] = 5.0
    loss.backward()
    assert_close(x.grad, 2 * X)


def test_a_write_between_a_checkpoint_and_its_recomputation_is_noticed():
    x = leaf(X)
    loss = mg.sum(mg.checkpoint(lambda x: mg.sin(x) * x)(x))
    with mg.no_grad():
        x[0] = 5.0
    with pytest.raises(RuntimeError, match="in place"):
        loss.backward()


def test_a_graph_made_after_the_write_is_fine():
    x = leaf(X)
    with mg.no_grad():
        x.copy_(X * 3)
    mg.sum(x**2).backward()
    assert_close(x.grad, 6 * X)


def test_the_optimizers_way_of_writing_is_noticed():
    from minigrad.engine import wrote

    x = leaf(X)
    loss = mg.sum(x**2)
    x.data[...] -= 0.1
    wrote(x.data)
    with pytest.raises(RuntimeError, match="in place"):
        loss.backward()


# Depth


def chain(x, depth):
    for _ in range(depth):
        x = x * 0.99999 + 1e-6
    return x


def test_a_graph_100_000_ops_deep_is_built_walked_and_freed_without_recursion():
    limit = sys.getrecursionlimit()
    x = leaf(np.array(1.5))
    y = chain(x, 50_000)
    y.backward()
    assert sys.getrecursionlimit() == limit
    np.testing.assert_allclose(x.grad.numpy(), 0.99999**50_000, rtol=50_000 * tolerance(np.float64))
    watched = weakref.ref(y)
    del y
    gc.collect()
    assert watched() is None


def test_a_deep_graph_that_is_never_walked_is_freed_without_recursion():
    x = leaf(np.array(1.5))
    y = chain(x, 50_000)
    del y
    gc.collect()
    assert (x * 1.0).requires_grad


def test_every_transform_goes_deep():
    x = np.array(1.5)
    slope = 0.99999**10_000

    def f(x):
        return chain(x, 10_000)

    for found in (
        mg.grad(f)(x),
        mg.jvp(f, (x,), (np.array(1.0),))[1],
        mg.linearize(f, x)[1](np.array(1.0)),
        mg.grad(mg.checkpoint(f))(x),
        mg.jacobian(f, mode="forward")(x),
    ):
        np.testing.assert_allclose(as_numpy(found), slope, rtol=1e-11)
    (curved,) = mg.hvp(lambda x: f(x) ** 2, (x,), (np.array(1.0),))
    np.testing.assert_allclose(as_numpy(curved), 2 * slope**2, rtol=1e-11)


def test_work_grows_linearly_with_depth():
    """Counted, not timed: calls of Python functions during build and walk, at two depths."""

    def calls(depth):
        count = 0

        def profile(frame, event, argument):
            nonlocal count
            count += event == "call"

        x = leaf(np.array(1.5))
        sys.setprofile(profile)
        try:
            chain(x, depth).backward()
        finally:
            sys.setprofile(None)
        return count

    small, large = calls(500), calls(5_000)
    assert large < 10.5 * small


def test_graphs_need_no_cycle_collector_to_be_freed():
    gc.collect()
    gc.disable()
    try:
        x = leaf(X)
        y = mg.sum(mg.exp(x) * x)
        watched = weakref.ref(y)
        middle = mg.exp(x)
        watched_middle = weakref.ref(middle)
        y.backward()
        del y, middle
        assert watched() is None
        assert watched_middle() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("walked", [True, False])
def test_checkpointed_graphs_need_no_cycle_collector_to_be_freed(walked):
    inner = mg.checkpoint(lambda x: mg.exp(x) * x)
    outer = mg.checkpoint(lambda x: mg.sum(inner(x) * x))
    gc.collect()
    gc.disable()
    try:
        y = outer(leaf(X))
        if walked:
            y.backward()
        del y
        assert gc.collect() == 0
    finally:
        gc.enable()


# Copies


@pytest.mark.parametrize(
    "twin_of",
    [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_copied_leaf_has_a_gradient_of_its_own(twin_of):
    x = leaf(X)
    twin = twin_of(x)
    mg.sum(twin * twin).backward()
    assert x.grad is None
    assert_close(twin.grad, 2 * X)
    constant = twin_of(mg.tensor([1, 2]))
    assert (constant.tolist(), constant.requires_grad) == ([1, 2], False)


def test_a_deep_copy_shares_no_memory_and_keeps_the_gradient():
    x = leaf(X)
    mg.sum(x * x).backward()
    twin = copy.deepcopy({"x": x, "again": x})
    assert twin["x"] is twin["again"]
    assert_close(twin["x"].grad, 2 * X)
    with mg.no_grad():
        x[...] = 0
    assert_close(twin["x"], X)


def test_what_an_op_made_is_not_copied_behind_its_graphs_back():
    with pytest.raises(TypeError, match="no op made"):
        copy.deepcopy(leaf(X) * 2)


def test_clone_keeps_every_bit_and_the_dtype():
    assert mg.tensor([True, False]).clone().dtype == np.bool_
    assert np.signbit(mg.tensor([-0.0]).clone().numpy()).all()
    x = leaf(X)
    mg.sum(x.clone() * X).backward()
    assert_close(x.grad, X)


def test_arrays_in_another_byte_order_become_native():
    foreign = X.astype(X.dtype.newbyteorder())
    assert mg.tensor(foreign, requires_grad=True).dtype.isnative
    assert_close(mg.softmax(foreign), mg.softmax(X))


def test_a_list_of_tensors_that_are_differentiated_is_refused():
    assert mg.tensor([mg.tensor(1.0), 2.0]).tolist() == [1.0, 2.0]
    with pytest.raises(TypeError, match=r"use stack\(\)"):
        mg.grad(lambda x: mg.sum(mg.tensor([x[0], x[1]])))(X[0])
    with pytest.raises(TypeError, match=r"use stack\(\)"):
        mg.jvp(lambda x: mg.tensor([x[0], x[1]]), (X[0],), (X[1],))


# Indices


def test_an_index_written_after_use_is_noticed():
    x, index = leaf(X), mg.tensor([0, 1])
    y = mg.sum(x[index])
    index[0] = 1
    with pytest.raises(RuntimeError, match=r"backward of getitem: index .* changed in place"):
        y.backward()


def test_a_conversion_of_dtype_is_walked_after_a_write_elsewhere():
    x, other = mg.tensor([1.0, -2.0], requires_grad=True), mg.tensor([0.0])
    y = (x.astype("bfloat16") * 3).astype("float32").sum()
    other[0] = 1.0  # from now on the walk checks what was saved, dtypes among it
    y.backward()
    assert x.grad.tolist() == [3, 3]


def test_a_write_elsewhere_does_not_disturb_an_op_with_an_argument_left_out():
    x = leaf(X)
    y = mg.sum(mg.layer_norm(x, leaf(np.ones(3))))
    mg.tensor([1.0])[0] = 2.0
    y.backward()
    assert x.grad is not None


@pytest.mark.parametrize("inside", [(2, 0, 2), array.array("l", [2, 0, 2])], ids=["tuple", "array"])
def test_a_sequence_inside_an_index_adds_up_repeated_places(inside):
    x = leaf(X[0])
    mg.sum(x[(inside,)]).backward()
    assert_close(x.grad, np.array([1.0, 0.0, 2.0]))


def test_ops_take_nested_lists():
    assert mg.sum([1.0, 2.5]).item() == 3.5
    assert_close(mg.softmax([[0.0, 0.0]]), [[0.5, 0.5]], np.float32)
    table = np.arange(6.0).reshape(3, 2)
    assert_close(mg.embedding(table, [2, 0]), table[[2, 0]], np.float64)
    assert_close(mg.multiply(mg.tensor([2.0, 3.0]), [4, 5]), [8.0, 15.0], np.float64)
