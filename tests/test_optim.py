"""Optimizers against their formulas, and against PyTorch."""

import copy
import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim

RNG = np.random.default_rng(1)
START = [RNG.standard_normal(shape) for shape in [(3, 4), (5,), ()]]
GRADS = [[RNG.standard_normal(np.shape(p)) for p in START] for _ in range(6)]


def parameters(dtype="float64"):
    return [nn.Parameter(p, dtype=dtype) for p in START]


def take_steps(optimizer, params, count=6, first=0):
    for grads in GRADS[first : first + count]:
        for p, g in zip(params, grads, strict=True):
            p.grad = mg.Tensor(np.asarray(g, p.dtype))
        optimizer.step()
    return [p.numpy().copy() for p in params]


def test_sgd_by_hand():
    p = nn.Parameter([1.0, -2.0], dtype="float64")
    optimizer = optim.SGD([p], lr=0.1, momentum=0.5)
    for _ in range(2):
        p.grad = mg.Tensor(np.array([2.0, 4.0]))
        optimizer.step()
    # velocity 2, then 0.5·2 + 2 = 3
    np.testing.assert_allclose(p.numpy(), [1 - 0.1 * (2 + 3), -2 - 0.1 * (4 + 6)])


def test_adam_first_step_is_the_learning_rate_whatever_the_gradient():
    p = nn.Parameter([1.0, 1.0, 1.0], dtype="float64")
    optimizer = optim.Adam([p], lr=0.01)
    p.grad = mg.Tensor(np.array([1e-3, 5.0, -700.0]))
    optimizer.step()
    np.testing.assert_allclose(p.numpy(), [0.99, 0.99, 1.01], rtol=1e-5)


def test_adamw_decays_apart_from_the_gradient():
    p = nn.Parameter([3.0], dtype="float64")
    optimizer = optim.AdamW([p], lr=0.1, weight_decay=0.2)
    p.grad = mg.Tensor(np.array([0.0]))
    optimizer.step()
    np.testing.assert_allclose(p.numpy(), [3 * (1 - 0.1 * 0.2)])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", [optim.Adam, optim.AdamW])
def test_the_fused_kernel_agrees_with_the_array_code(kind, dtype):
    results = []
    for kernels in (True, False):
        params = parameters(dtype)
        with mg.use_kernels(kernels):
            results.append(take_steps(kind(params, lr=0.03, weight_decay=0.1), params))
    for fast, plain in zip(*results, strict=True):
        np.testing.assert_allclose(fast, plain, rtol=50 * np.finfo(dtype).eps, atol=1e-7)


@pytest.mark.reference
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", dict(lr=0.1)),
        ("SGD", dict(lr=0.1, momentum=0.9, weight_decay=0.3)),
        ("SGD", dict(lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.1)),
        ("Adam", dict(lr=0.05, betas=(0.8, 0.9), eps=1e-3)),
        ("Adam", dict(lr=0.05, weight_decay=0.2)),
        ("AdamW", dict(lr=0.05, betas=(0.7, 0.95), weight_decay=0.2)),
    ],
)
def test_six_steps_agree_with_pytorch(name, options):
    torch = pytest.importorskip("torch")
    mine = parameters()
    result = take_steps(getattr(optim, name)(mine, **options), mine)
    theirs = [torch.tensor(p, requires_grad=True) for p in START]
    optimizer = getattr(torch.optim, name)(theirs, **options)
    for grads in GRADS:
        for p, g in zip(theirs, grads, strict=True):
            p.grad = torch.tensor(g)
        optimizer.step()
    for a, b in zip(result, theirs, strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_groups_have_options_of_their_own_and_follow_the_learning_rate():
    a, b = nn.Parameter([1.0]), nn.Parameter([1.0])
    optimizer = optim.SGD([{"params": [a]}, {"params": [b], "lr": 0.2}], lr=0.1)
    optimizer.lr = 0.01
    for p in (a, b):
        p.grad = mg.Tensor(np.ones(1, np.float32))
    optimizer.step()
    np.testing.assert_allclose([a.item(), b.item()], [0.99, 0.98], rtol=1e-6)


def test_gradients_are_read_and_never_written():
    for kind in (optim.SGD, optim.Adam, optim.AdamW):
        p = nn.Parameter([1.0, 2.0])
        gradient = np.array([3.0, -4.0], np.float32)
        p.grad = mg.Tensor(gradient)
        kind([p], lr=0.1, weight_decay=0.1).step()
        optim.clip_grad_norm([p], 1.0)
        np.testing.assert_array_equal(gradient, [3.0, -4.0])


def test_a_step_is_noticed_by_a_graph_recorded_before_it():
    p = nn.Parameter([1.0, 2.0])
    loss = (p * p).sum()
    p.grad = mg.Tensor(np.ones(2, np.float32))
    optim.SGD([p], lr=0.1).step()
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_parameters_without_gradient_stay():
    a, b = nn.Parameter([1.0]), nn.Parameter([1.0])
    optimizer = optim.AdamW([a, b], lr=0.1)
    a.grad = mg.Tensor(np.ones(1, np.float32))
    optimizer.step()
    assert a.item() != 1.0
    assert b.item() == 1.0
    optimizer.zero_grad()
    assert a.grad is None


@pytest.mark.parametrize("kind", [optim.SGD, optim.AdamW])
def test_state_goes_on_where_it_was_saved(kind):
    options = dict(lr=0.1, momentum=0.9) if kind is optim.SGD else dict(lr=0.1)
    whole = parameters()
    expected = take_steps(kind(whole, **options), whole)
    params = parameters()
    first = kind(params, **options)
    take_steps(first, params, 3)
    second = kind(params, **options)
    second.load_state_dict(first.state_dict())
    result = take_steps(second, params, 3, first=3)
    for a, b in zip(result, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_state_of_another_optimizer_is_refused():
    params = parameters()
    adam = optim.AdamW(params)
    take_steps(adam, params, 1)
    with pytest.raises(ValueError, match=r"entry '0.m' of shape \(3, 4\) belongs to no parameter"):
        optim.SGD(params, lr=0.1, momentum=0.9).load_state_dict(adam.state_dict())
    with pytest.raises(ValueError, match="expected the steps"):
        adam.load_state_dict({})


def test_clipping_scales_all_gradients_by_one_factor():
    params = [nn.Parameter([0.0, 0.0]), nn.Parameter([[0.0]])]
    params[0].grad = mg.Tensor(np.array([3.0, 0.0], np.float32))
    params[1].grad = mg.Tensor(np.array([[4.0]], np.float32))
    assert optim.clip_grad_norm(params, 10.0) == pytest.approx(5.0)
    assert params[1].grad.item() == 4.0
    assert optim.clip_grad_norm(params, 1.0) == pytest.approx(5.0)
    np.testing.assert_allclose(params[0].grad.numpy(), [0.6, 0.0], rtol=1e-6)
    np.testing.assert_allclose(params[1].grad.numpy(), [[0.8]], rtol=1e-6)


def test_clipping_refuses_gradients_that_are_not_numbers():
    params = [nn.Parameter([0.0]), nn.Parameter([0.0])]
    for p, g in zip(params, (1.0, np.nan), strict=True):
        p.grad = mg.Tensor(np.array([g], np.float32))
    with pytest.raises(FloatingPointError, match=r"parameters number \[1\]"):
        optim.clip_grad_norm(params, 1.0)


def test_schedules_pass_through_their_stated_points():
    assert optim.constant(0.3)(77) == 0.3
    decay = optim.step_decay(1.0, every=10, factor=0.5)
    assert [decay(step) for step in (0, 9, 10, 25)] == [1.0, 1.0, 0.5, 0.25]
    cosine = optim.cosine(1.0, steps=110, warmup=10, final=0.2)
    assert cosine(0) == pytest.approx(0.1)
    assert cosine(9) == cosine(10) == pytest.approx(1.0)
    assert cosine(60) == pytest.approx(0.6)
    assert cosine(110) == cosine(500) == pytest.approx(0.2)
    assert cosine(35) == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda p: optim.SGD([], lr=0.1), ValueError, "no parameters"),
        (lambda p: optim.SGD([p, p], lr=0.1), ValueError, "given twice"),
        (lambda p: optim.SGD([np.ones(2)]), TypeError, "expected Tensors that require gradients"),
        (lambda p: optim.SGD([p], lr=-1), ValueError, "lr must not be negative or NaN, got -1"),
        (lambda p: optim.SGD([p], nesterov=True), ValueError, "nesterov needs momentum"),
        (lambda p: optim.AdamW([p], betas=(0.9, 1)), ValueError, r"in \[0, 1\), got \(0.9, 1\)"),
        (lambda p: optim.AdamW([{"params": [p], "eta": 1}]), TypeError, "unknown option 'eta'"),
        (lambda p: optim.clip_grad_norm([p], 0), ValueError, "max_norm must be positive"),
        (lambda p: optim.cosine(1.0, 10, warmup=10), ValueError, "0 <= warmup < steps"),
        (lambda p: optim.step_decay(1.0, 0), ValueError, "at least 1 step"),
    ],
)
def test_bad_options_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make(nn.Parameter([1.0]))


def test_a_model_and_its_optimizer_copied_together_go_on_alike():
    model = nn.Linear(2, 3)
    optimizer = optim.AdamW(model.parameters(), lr=0.1)
    x = np.array([[0.5, -1.5]], np.float32)
    pairs = [(model, optimizer)]
    for step in range(4):
        if step == 2:
            pairs.append(copy.deepcopy(pairs[0]))
        for each, its_optimizer in pairs:
            its_optimizer.zero_grad()
            mg.sum(each(x) ** 2).backward()
            its_optimizer.step()
    twin = pairs[1][0]
    assert twin.weight is not model.weight
    np.testing.assert_array_equal(twin.weight.numpy(), model.weight.numpy())


def test_settings_that_are_not_numbers_are_refused():
    with pytest.raises(ValueError, match="lr must not be negative or NaN, got nan"):
        optim.SGD(nn.Linear(1, 1).parameters(), lr=math.nan)
    with pytest.raises(ValueError, match="max_norm must be positive, got nan"):
        optim.clip_grad_norm([], math.nan)
