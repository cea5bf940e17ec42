"""Every op against PyTorch: value, dtype, gradient and second derivative.

Where NumPy's promotion and PyTorch's differ, NumPy's holds here; the last tests state where.
"""

import numpy as np
import pytest
from checking import as_numpy, assert_close, directions, is_floating
from hypothesis import given
from hypothesis import strategies as st
from ops_table import OPS

import minigrad as mg

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.reference

COMPARED = [op for op in OPS if op.torch is not None]
DTYPES = [np.float64, np.float32]


def by_name(ops):
    return pytest.mark.parametrize("op", ops, ids=lambda op: op.name)


def to_torch(array, requires_grad=False):
    """A torch tensor of a copy: torch has no negative strides."""
    tensor = torch.tensor(array.copy())
    return tensor.requires_grad_(requires_grad and tensor.is_floating_point())


def outputs(value):
    return list(value) if isinstance(value, list | tuple) else [value]


def of_torch(op, tensors, params):
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return outputs(op.torch(torch, *tensors, **params))


def numbers(tensor):
    return tensor.detach().numpy(force=True)  # torch's symbolic zeros too


def torch_gradients(outs, weights, inputs):
    """Gradients of the weighed sum of outputs, zero where nothing depends on an input."""
    total = sum((o * w).sum() for o, w in zip(outs, weights, strict=True))
    if not total.requires_grad:
        return [torch.zeros_like(x) for x in inputs]
    found = torch.autograd.grad(total, inputs, create_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True)]


def compare(op, case, dtype):
    """Value and dtype, then the gradient along random weights, then the gradient of that."""
    rng = np.random.default_rng(case.seed + 5)
    arrays = [a.astype(dtype) if is_floating(a) else a for a in op.arrays(case)]
    places = [i for i, a in enumerate(arrays) if is_floating(a)]
    theirs = [to_torch(a, requires_grad=True) for a in arrays]
    mine = [mg.tensor(a, requires_grad=i in places) for i, a in enumerate(arrays)]
    factor = max(2.0, op.roundings / 2)
    message = f"{op.name} of {case}"

    their_outs = of_torch(op, theirs, case.params)
    my_outs = outputs(op.call(*mine, **case.params))
    for my_out, their_out in zip(my_outs, their_outs, strict=True):
        assert my_out.dtype == numbers(their_out).dtype, message
        compared = np.bool_ if my_out.dtype == np.bool_ else dtype
        assert_close(my_out, numbers(their_out), compared, message, factor)
    if not op.differentiable:
        return

    weights = directions(rng, [numbers(o) for o in their_outs])
    inputs = [theirs[i] for i in places]
    their_grads = torch_gradients(their_outs, [to_torch(w) for w in weights], inputs)

    def weighed(*floating):
        arguments = list(mine)
        for i, value in zip(places, floating, strict=True):
            arguments[i] = value
        outs = outputs(op.call(*arguments, **case.params))
        terms = [mg.sum(o * w) for o, w in zip(outs, weights, strict=True)]
        return sum(terms[1:], terms[0])

    gradient = mg.grad(weighed, argnums=tuple(range(len(places))))
    at = [arrays[i] for i in places]
    for my_grad, their_grad in zip(gradient(*at), their_grads, strict=True):
        assert my_grad.dtype == dtype
        assert_close(my_grad, numbers(their_grad), dtype, f"gradient of {message}", factor)

    seconds = directions(rng, at)
    their_second = torch_gradients(their_grads, [to_torch(w) for w in seconds], inputs)
    _, pullback = mg.vjp(gradient, *at)
    for my_second, their_second_one in zip(pullback(tuple(seconds)), their_second, strict=True):
        wanted = numbers(their_second_one)
        assert_close(my_second, wanted, dtype, f"second derivative of {message}", 2 * factor)


@by_name(COMPARED)
@pytest.mark.parametrize("dtype", DTYPES)
def test_ops_agree_with_torch_to_second_order(op, dtype):
    for case in op.examples:
        compare(op, case, dtype)


@by_name(COMPARED)
@given(data=st.data())
def test_ops_agree_with_torch_on_drawn_shapes(op, data):
    compare(op, data.draw(op.cases), np.float64)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    "name",
    ["exp", "tanh", "sigmoid", "multiply", "matmul", "sum", "mean", "softmax", "log_softmax"],
)
def test_half_precision_agrees_with_torch(name, dtype):
    """Values to a rounding or two, on numbers that both libraries hold exactly."""
    op = next(op for op in OPS if op.name == name)
    kind = getattr(torch, dtype)
    for case in op.examples:
        if 0 in case.shapes[0]:
            continue
        theirs = [to_torch(a.astype(np.float32)).to(kind) for a in op.arrays(case)]
        mine = [mg.tensor(t.float().numpy()).astype(dtype) for t in theirs]
        (wanted,) = of_torch(op, theirs, case.params)
        (found,) = outputs(op.call(*mine, **case.params))
        assert found.dtype.name == dtype
        assert_close(found, wanted.float().numpy(), found.dtype, f"{name} of {case}", 2.0)


def test_backward_fills_the_gradients_that_torch_fills():
    """A small transformer block by hand, in float32: every parameter's gradient."""
    rng = np.random.default_rng(11)
    shapes = {"table": (7, 8), "gain": (8,), "shift": (8,), "qkv": (8, 24), "out": (8, 8)}
    shapes |= {"up": (8, 20), "down": (20, 8)}
    arrays = {n: (0.4 * rng.standard_normal(s)).astype(np.float32) for n, s in shapes.items()}
    ids, targets = rng.integers(0, 7, (3, 5)), rng.integers(0, 7, (3, 5))
    mine = {n: mg.tensor(a, requires_grad=True) for n, a in arrays.items()}
    theirs = {n: to_torch(a, requires_grad=True) for n, a in arrays.items()}

    def split_heads(x):
        return x.reshape(3, 5, 2, 4).transpose(0, 2, 1, 3)

    p = mine
    x = mg.embedding(p["table"], ids)
    h = mg.layer_norm(x, p["gain"], p["shift"])
    q, k, v = (split_heads(part) for part in mg.split(h @ p["qkv"], 3, axis=-1))
    h = mg.scaled_dot_product_attention(q, k, v, causal=True)
    x = x + h.transpose(0, 2, 1, 3).reshape(3, 5, 8) @ p["out"]
    x = x + mg.gelu(x @ p["up"]) @ p["down"]
    my_loss = mg.cross_entropy(x @ p["table"].T, mg.tensor(targets))
    my_loss.backward()

    p, F = theirs, torch.nn.functional
    x = F.embedding(torch.tensor(ids), p["table"])
    h = F.layer_norm(x, (8,), p["gain"], p["shift"])
    q, k, v = (t.reshape(3, 5, 2, 4).permute(0, 2, 1, 3) for t in (h @ p["qkv"]).split(8, dim=-1))
    h = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    x = x + h.permute(0, 2, 1, 3).reshape(3, 5, 8) @ p["out"]
    x = x + F.gelu(x @ p["up"]) @ p["down"]
    their_loss = F.cross_entropy(
        (x @ p["table"].T).reshape(15, 7), torch.tensor(targets).reshape(15)
    )
    their_loss.backward()

    assert_close(my_loss, numbers(their_loss))
    for name in shapes:
        assert_close(mine[name].grad, theirs[name].grad.numpy(), message=name)


def torch_dtype(f, *arrays):
    return str(f(*(to_torch(a) for a in arrays)).dtype).removeprefix("torch.")


def my_dtype(f, *arrays):
    return f(*(mg.tensor(a) for a in arrays)).dtype.name


INTEGERS = np.array([1, 2, 4])
SINGLES = np.array([0.5, 2.0, 1.5], np.float32)
AGREE = [
    (lambda x, y: x + y, (INTEGERS.astype(np.int32), INTEGERS), "int64"),
    (lambda x, y: x + y, (SINGLES, SINGLES.astype(np.float64)), "float64"),
    (lambda x, y: x * y, (SINGLES.astype(np.float16), SINGLES), "float32"),
    (lambda x: x + 1, (INTEGERS,), "int64"),
    (lambda x: x * 1.5, (SINGLES.astype(np.float16),), "float16"),
    (lambda x: x.sum(), (INTEGERS > 1,), "int64"),
    (lambda x: x > 1, (INTEGERS,), "bool"),
]
DIFFER = [
    ("integers meet float32", lambda x, y: x + y, (INTEGERS, SINGLES), "float64", "float32"),
    ("integers divide", lambda x: x / 2, (INTEGERS,), "float64", "float32"),
    ("integers times a number", lambda x: x * 1.5, (INTEGERS,), "float64", "float32"),
    ("0-d counts fully", lambda x, y: x * y, (SINGLES, np.array(2.0)), "float64", "float32"),
]


@pytest.mark.parametrize(("f", "arrays", "dtype"), AGREE)
def test_promotion_agrees_with_torch(f, arrays, dtype):
    assert my_dtype(f, *arrays) == torch_dtype(f, *arrays) == dtype


@pytest.mark.parametrize(
    ("why", "f", "arrays", "mine", "theirs"), DIFFER, ids=[d[0] for d in DIFFER]
)
def test_promotion_differs_from_torch_only_where_numpy_does(why, f, arrays, mine, theirs):
    assert my_dtype(f, *arrays) == f(*arrays).dtype.name == mine
    assert torch_dtype(f, *arrays) == theirs


@pytest.mark.parametrize(
    ("name", "x"),
    [("relu", 0.0), ("abs", 0.0), ("clip", 1.0), ("clip", -1.0), ("max", None), ("maximum", 0.5)],
)
def test_subgradients_at_kinks_are_those_of_torch(name, x):
    """At ties amax and maximum share evenly, clip passes at its bounds, abs and relu give 0."""
    if name == "max":
        mine = mg.grad(mg.max)(np.array([2.0, 1.0, 2.0]))
        theirs = to_torch(np.array([2.0, 1.0, 2.0]), requires_grad=True)
        torch.amax(theirs, 0).backward()
    else:
        calls = {
            "relu": (mg.relu, torch.relu),
            "abs": (mg.abs, torch.abs),
            "clip": (lambda x: mg.clip(x, -1.0, 1.0), lambda x: torch.clip(x, -1.0, 1.0)),
            "maximum": (
                lambda x: mg.maximum(x, np.array(0.5)),
                lambda x: torch.maximum(x, torch.tensor(0.5, dtype=torch.float64)),
            ),
        }
        ours, others = calls[name]
        mine = mg.grad(ours)(np.array(x))
        theirs = to_torch(np.array(x), requires_grad=True)
        others(theirs).backward()
    np.testing.assert_array_equal(as_numpy(mine), theirs.grad.numpy())
