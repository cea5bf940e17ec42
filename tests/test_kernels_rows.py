"""Reductions, softmax, norms, cross-entropy and AdamW: every kernel that goes over rows."""

import ml_dtypes
import numpy as np
import pytest
from gpu import gpu_works
from kernel_harness import KernelTests

import minigrad as mg
from kernels import _rows, adamw, cross_entropy, norm, norm_grad, reduce, softmax, softmax_long
from kernels.watch import watching
from minigrad import optim

DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
TOLERANCE = {"float32": 3e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
SHAPES = [(1,), (1, 1), (3, 31), (5, 33), (2, 65), (2, 3, 16), (2, 264)]
FEW = [(5, 33), (2, 264)]  # each further shape is some more kernels to compile


def normal(put, rng, shape, dtype, scale=1.0, offset=0.0):
    """(an array of a dtype, its values in float64)."""
    x = np.asarray(rng.normal(offset, scale, shape)).astype(DTYPES[dtype])
    return put(x), x.astype(np.float64)


def wide(x):
    """A result in float64, on the host."""
    return np.asarray(x.get() if hasattr(x, "get") else x).astype(np.float64)


# Softmax


def exact_softmax(x):
    with np.errstate(invalid="ignore"):
        e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return np.nan_to_num(e / e.sum(axis=-1, keepdims=True))


def exact_softmax_grad(y, g, log):
    if log:
        return g - np.exp(y) * g.sum(axis=-1, keepdims=True)
    return y * (g - (y * g).sum(axis=-1, keepdims=True))


KINDS = (softmax.softmax, False), (softmax.log_softmax, True)


def softmax_case(dtype, shapes):
    def case(put, rng):
        results, tolerance = [], TOLERANCE[dtype]
        for shape in shapes:
            x, exact = normal(put, rng, shape, dtype, scale=3, offset=10)
            g, exact_g = normal(put, rng, shape, dtype)
            for kernel, log in KINDS:
                out, saved = kernel.forward(x)
                (dx,) = kernel.backward(g, saved)
                want = exact_softmax(exact)
                results.append((out, np.log(want) if log else want, tolerance))
                results.append((dx, exact_softmax_grad(wide(out), exact_g, log), tolerance))
        return results

    return case


def softmax_extremes(put, rng):
    """Logits up to the largest float16, and rows of -inf, alone or in company."""
    x = np.array([[-np.inf] * 33, [6e4] * 33, [-6e4, 6e4, *[0.0] * 31]], np.float32)
    x = np.concatenate([x, np.where(rng.random((2, 33)) < 0.5, -np.inf, 0).astype(np.float32)])
    want = exact_softmax(x.astype(np.float64))
    with np.errstate(divide="ignore"):
        log = np.log(want)
    log[2] = x[2].astype(np.float64) - 6e4
    shifted = put(x + np.float32(1e30) * np.isfinite(x[:, :1]))
    return [
        (softmax.softmax.forward(put(x))[0], want, 3e-6),
        (softmax.log_softmax.forward(put(x))[0], log, 3e-6),
        (softmax.softmax.forward(put(x[2:3] * np.float32(1e30)))[0], want[2:3], 3e-6),
        (softmax.softmax.forward(shifted)[0][1:2], want[1:2], 3e-6),
    ]


def long_softmax_case(dtype, columns, most_shared, kinds):
    """Rows longer than the registers of a block, here of 64 threads."""

    def case(put, rng):
        results, tolerance = [], TOLERANCE[dtype]
        for _, log in kinds:
            x, exact = normal(put, rng, (6, columns), dtype)
            g, exact_g = normal(put, rng, (6, columns), dtype)
            out, dx = softmax.empty(x, x.shape), softmax.empty(x, x.shape)
            size = 6, columns, log, 64, most_shared
            softmax_long.forward_long(x.reshape(-1), out.reshape(-1), *size)
            softmax_long.backward_long(out.reshape(-1), g.reshape(-1), dx.reshape(-1), *size)
            want = exact_softmax(exact)
            results.append((out, np.log(want) if log else want, tolerance))
            results.append((dx, exact_softmax_grad(wide(out), exact_g, log), tolerance))
        return results

    return case


def real_long_softmax(put, rng):
    """The real configuration, a row just too long for registers; backward's limit is lower."""
    x, exact = normal(put, rng, (1, 32_776), "float16")
    out, saved = softmax.softmax.forward(x)
    dx = softmax.softmax.backward(x, saved)[0]
    grad = exact_softmax_grad(wide(out), exact, False)
    return [(out, exact_softmax(exact), 2e-3), (dx, grad, 4e-3)]


# Norms


def exact_norm(x, g, weight, bias, centred):
    """(out, dx, dweight, dbias) in float64."""
    x = x - x.mean(axis=-1, keepdims=True) if centred else x
    r = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5)
    y, h = x * r, g * weight
    mean_h = h.mean(axis=-1, keepdims=True) if centred else 0
    dx = r * (h - mean_h - y * (h * y).mean(axis=-1, keepdims=True))
    lead = tuple(range(x.ndim - 1))
    return y * weight + bias, dx, (g * y).sum(axis=lead), g.sum(axis=lead)


def norm_results(put, rng, dtype, shape, centred, affine=True, offset=0.5):
    kernel, tolerance = norm.layer_norm if centred else norm.rms_norm, TOLERANCE[dtype]
    x, exact = normal(put, rng, shape, dtype, offset=offset)
    g, exact_g = normal(put, rng, shape, dtype)
    weight, exact_weight = normal(put, rng, shape[-1:], dtype)
    bias, exact_bias = normal(put, rng, shape[-1:], dtype)
    given = [weight, bias][: 1 + centred] if affine else []
    exact_weight, exact_bias = (exact_weight, exact_bias) if affine else (1.0, 0.0)
    out, saved = kernel.forward(x, *given)
    grads = kernel.backward(g, saved)
    want = exact_norm(exact, exact_g, exact_weight, exact_bias if centred else 0.0, centred)
    found = list(zip((out, *grads), want, (tolerance, 4 * tolerance, tolerance, tolerance)))
    if shape[-1] == 1:  # what is left of dx is rounding, of terms of the size of rstd
        del found[1]
    return found


def norm_case(dtype, shapes):
    def case(put, rng):
        results = []
        for shape in shapes:
            results += norm_results(put, rng, dtype, shape, centred=True)
        for shape in shapes[-2:]:
            results += norm_results(put, rng, dtype, shape, centred=False)
        return results

    return case


def norm_offset(put, rng):
    """A mean a thousand times the standard deviation, rows all alike, and few needs."""
    results = norm_results(put, rng, "float32", (4, 65), True, offset=1000.0)
    constant, saved = norm.layer_norm.forward(put(np.full((2, 33), 7, np.float32)))
    g = put(np.ones((2, 33), np.float32))
    assert norm.layer_norm.backward(g, saved, (False, True, False))[::2] == (None, None)
    # The offset itself is rounded to 6e-5 of the deviation.
    return [(got, want, 1e-4) for got, want, _ in results] + [(constant, np.zeros((2, 33)), 1e-6)]


def long_norms(put, rng):
    """Rows that do not fit in registers, here because a thread may hold no more than one value."""
    results = []
    for dtype, columns, centred in (("float32", 4100, True), ("bfloat16", 515, False)):
        spread = norm.plan, norm_grad.plan
        norm.plan = norm_grad.plan = lambda *_: None
        try:
            results += norm_results(put, rng, dtype, (3, columns), centred)
        finally:
            norm.plan, norm_grad.plan = spread
    return results


# Cross-entropy


def exact_loss(x, targets, g, ignored, smoothing, reduction):
    """(loss, dlogits) in float64."""
    valid = targets != ignored
    ids = np.where(valid, targets, 0)[..., None]
    top = x.max(axis=-1, keepdims=True)
    logp = x - top - np.log(np.exp(x - top).sum(axis=-1, keepdims=True))
    losses = -(1 - smoothing) * np.take_along_axis(logp, ids, -1)[..., 0]
    losses -= smoothing * logp.mean(axis=-1) if smoothing else 0
    losses = np.where(valid, losses, 0)
    grad = np.exp(logp) - smoothing / x.shape[-1]
    at = np.take_along_axis(grad, ids, -1) - (1 - smoothing)
    np.put_along_axis(grad, ids, at, -1)
    count = valid.sum() if reduction == "mean" else 1
    scale = np.where(valid, g / count if count else np.nan, 0)
    loss = losses if reduction == "none" else losses.sum() / count if count else np.nan
    return loss, np.where(valid[..., None], grad * scale[..., None], 0)


def loss_results(put, rng, dtype, shape, ignored, smoothing, reduction, offset=50.0, targets=None):
    x, exact = normal(put, rng, shape, dtype, scale=2, offset=offset)
    if targets is None:
        targets = rng.integers(0, shape[-1], shape[:-1])
        targets.reshape(-1)[1::3] = ignored
    g, exact_g = normal(put, rng, shape[:-1] if reduction == "none" else (), dtype)
    settings = dict(ignore_index=ignored, label_smoothing=smoothing, reduction=reduction)
    loss, saved = cross_entropy.cross_entropy.forward(x, put(targets), **settings)
    dlogits, nothing = cross_entropy.cross_entropy.backward(g, saved, **settings)
    assert nothing is None
    want = exact_loss(exact, targets, exact_g, ignored, smoothing, reduction)
    return [(loss, want[0], TOLERANCE[dtype]), (dlogits, want[1], TOLERANCE[dtype])]


def loss_case(dtype, shapes):
    """Ragged and wide rows, each with another reduction, every second one smoothed."""

    def case(put, rng):
        results = []
        for i, shape in enumerate(shapes):
            reduction, smoothing = ("mean", "sum", "none")[i % 3], 0.1 * (i % 2)
            results += loss_results(put, rng, dtype, shape, -100, smoothing, reduction)
        return results

    return case


def loss_extremes(put, rng):
    """All targets ignored (the mean of nothing is NaN), an offset of a million, -inf logits."""
    nothing = np.full(3, 5)
    everything = loss_results(put, rng, "float32", (3, 33), 5, 0.1, "sum", targets=nothing)
    assert np.isnan(
        loss_results(put, rng, "float32", (3, 33), 5, 0.0, "mean", targets=nothing)[0][0]
    )
    offset = loss_results(put, rng, "float32", (4, 33), -100, 0.0, "none", offset=1e6)
    x = np.where(rng.random((3, 33)) < 0.5, -np.inf, rng.normal(size=(3, 33))).astype(np.float32)
    x[:, 7] = 1
    settings = dict(reduction="none")
    loss, saved = cross_entropy.cross_entropy.forward(put(x), put(np.full(3, 7)), **settings)
    ones = np.ones(3, np.float32)
    dlogits, _ = cross_entropy.cross_entropy.backward(put(ones), saved, **settings)
    with np.errstate(divide="ignore", invalid="ignore"):
        want = exact_loss(x.astype(np.float64), np.full(3, 7), ones, -100, 0.0, "none")
    return [*everything, *offset, (loss, want[0], 3e-6), (dlogits, want[1], 3e-6)]


# Reductions


SUM = (reduce.reduce_sum, np.sum, 1)
MEAN, MAX = (reduce.reduce_mean, np.mean, 1), (reduce.reduce_max, np.max, 0)


def reduce_case(dtype, shapes, axes, kinds):
    def case(put, rng):
        results = []
        for shape in shapes:
            x, exact = normal(put, rng, shape, dtype, offset=0.5)
            for axis in axes:
                for kernel, numpy, tolerance in kinds:
                    want = numpy(exact, axis)
                    results.append((kernel(x, axis), want, tolerance * TOLERANCE[dtype]))
        return results

    return case


def largest_with_nan(put, rng):
    x = rng.normal(size=(3, 33)).astype(np.float32)
    x[1, 20], x[2] = np.nan, -np.inf
    return [(reduce.reduce_max(put(x), -1), x.astype(np.float64).max(-1), 0)]


def ladder(put, rng):
    results = []
    for rung in reduce.LADDER:
        for n in (1, 31, 257, 1000):
            x, exact = normal(put, rng, n, "float32")
            out = reduce.empty(x, 1)
            rung.launch(x, out)
            results.append((out, exact.sum(keepdims=True), 3e-6 * np.abs(exact).sum()))
    return results


# AdamW


def exact_adamw(p, g, m, v, lr, beta1, beta2, eps, weight_decay, step):
    p = p - lr * weight_decay * p
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
    m_hat, v_hat = m / (1 - beta1**step), v / (1 - beta2**step)
    return p - lr * m_hat / (np.sqrt(v_hat) + eps), m, v


def adamw_case(dtype, slots, mastered):
    def case(put, rng):
        settings = dict(lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.1, step=3)
        shapes = (1,), (3, 31), (17, 64), (7,), (0, 3), (2056,)
        p, g = ([normal(put, rng, shape, dtype) for shape in shapes] for _ in range(2))
        m, v = ([normal(put, rng, shape, slots) for shape in shapes] for _ in range(2))
        v = [(abs(x), abs(exact)) for x, exact in v]
        master = [(x.astype(np.float32), exact) for x, exact in p] if mastered else None
        lists = [[x for x, _ in each] for each in (p, g, m, v, *([master] if mastered else []))]
        # One of them begins on no boundary of 16 bytes.
        for each in lists:
            each[1] = put(np.zeros(100, each[1].dtype))[1:94].reshape(3, 31)
        for mine, given in zip(lists, (p, g, m, v, *([master] if mastered else []))):
            mine[1][...] = given[1][0]
        adamw.adamw_step(*lists, **settings)
        results = []
        for i in range(len(shapes)):
            want = exact_adamw(p[i][1], g[i][1], m[i][1], v[i][1], **settings)
            pairs = [(0, 0, dtype), (2, 1, slots), (3, 2, slots)] + [(4, 0, "float32")] * mastered
            results += [(lists[k][i], want[j], TOLERANCE[kind]) for k, j, kind in pairs]
        return results

    return case


REDUCE = {
    "float32": reduce_case("float32", [(3, 31), (70, 33), (2, 3, 64)], (None, 0, -1), (SUM, MEAN)),
    "no axis and one": reduce_case("float32", [(), (1,)], (None,), (SUM, MAX)),
    "float16": reduce_case("float16", [(2, 2056), (9, 64)], (-1, 0), (SUM,)),
    "bfloat16": reduce_case("bfloat16", [(5, 33), (2, 512)], (None,), (SUM, MEAN)),
    "largest": reduce_case("float32", [(5, 33)], (0, -1), (MAX,)),
    "largest with NaN": largest_with_nan,
    "ladder": ladder,
}
SOFTMAX = {
    "float32": softmax_case("float32", SHAPES),
    "float16": softmax_case("float16", FEW[1:]),
    "bfloat16": softmax_case("bfloat16", FEW),
    "extremes": softmax_extremes,
    "long, all held": long_softmax_case("float16", 1040, 8192, KINDS[:1]),
    "long, some held": long_softmax_case("float32", 1044, 4096, KINDS),
    "long, on no boundary": long_softmax_case("bfloat16", 1043, 2048, KINDS[1:]),
    "long, as it is": real_long_softmax,
}
NORM = {
    "float32": norm_case("float32", [(1,), (3, 31), (2, 65), (2, 264)]),
    "float16": norm_case("float16", FEW[1:]),
    "bfloat16": norm_case("bfloat16", FEW),
    "offset": norm_offset,
    "long": long_norms,
}
LOSS = {
    "float32": loss_case("float32", [(1, 1), (5, 33), (2, 3, 64), (3, 1040)]),
    "float16": loss_case("float16", [(3, 1040)]),
    "bfloat16": loss_case("bfloat16", [(5, 33), (2, 264)]),
    "extremes": loss_extremes,
}
ADAMW = {
    "float32": adamw_case("float32", "float32", False),
    "float16 with master": adamw_case("float16", "float32", True),
    "bfloat16, float32 slots": adamw_case("bfloat16", "float32", False),
    "bfloat16": adamw_case("bfloat16", "bfloat16", False),
}
LARGE_SOFTMAX = {
    "rows of a block or a warp": softmax_case(
        "float16", [(1024, 4096), (4096, 1024), (50, 30_000), (300, 4097)]
    ),
    "long": softmax_case("float32", [(300, 50_304), (200, 70_001)]),
}
LARGE_NORM = {
    "rows of a block or a warp": norm_case("bfloat16", [(1000, 4096), (3000, 1024), (500, 1023)]),
    "long": norm_case("float32", [(300, 40_000), (300, 40_001)]),
}
LARGE_LOSS = {
    "vocabularies": loss_case("float16", [(300, 50_304), (200, 128_256), (200, 50_257)]),
}
LARGE_REDUCE = {
    "two launches": reduce_case("float32", [(5000, 1024), (300, 70_001)], (None, 0, -1), (SUM, MAX))
}
ZEROS = "what it waits for is zeros that nobody reads"
UNNOTICED = {"norm_grad: cp_async_wait0": ZEROS}


# The library's use of them, on the simulator: a CPU array takes the kernel meant for a GPU.


def take_gpu_kernels(monkeypatch):
    for op in (mg.softmax, mg.log_softmax, mg.cross_entropy, mg.layer_norm, mg.rms_norm):
        monkeypatch.setitem(op.kernels, "cpu", op.kernels["cuda"])
    monkeypatch.setattr(optim, "_launchable", lambda p, g: True)


OPS = {
    "softmax": lambda x, w, b, ids: mg.softmax(x),
    "log_softmax": lambda x, w, b, ids: mg.log_softmax(x, axis=1),
    "layer_norm": lambda x, w, b, ids: mg.layer_norm(x, w, b),
    "layer_norm, no bias": lambda x, w, b, ids: mg.layer_norm(x, w, eps=1e-3),
    "rms_norm": lambda x, w, b, ids: mg.rms_norm(x, w),
    "cross_entropy": lambda x, w, b, ids: mg.cross_entropy(x, ids, label_smoothing=0.1),
    "cross_entropy, each": lambda x, w, b, ids: mg.cross_entropy(x, ids, reduction="none"),
    "cross_entropy, ignoring": lambda x, w, b, ids: mg.cross_entropy(x, ids, ignore_index=3),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPS)
def test_an_op_agrees_with_its_specification(name, dtype, monkeypatch):
    take_gpu_kernels(monkeypatch)
    rng = np.random.default_rng(5)
    arrays = [rng.normal(size=size).astype(DTYPES[dtype]) for size in ((4, 33), 33, 33)]
    ids = np.array([3, 0, 32, 7])

    def run(launches):
        given = [mg.Tensor(array, requires_grad=True) for array in arrays]
        out = OPS[name](*given, ids)
        weights = np.random.default_rng(6).normal(size=out.shape).astype(DTYPES[dtype])
        (out * weights).sum().backward()
        found = [out, *(x.grad for x in given)]
        assert bool(reports) is launches
        return [wide(x.numpy()) for x in found if x is not None]

    with watching() as reports:
        with mg.use_kernels(False):
            specified = run(False)
        launched = run(True)
    assert len(launched) == len(specified)
    for got, want in zip(launched, specified):
        assert got.shape == want.shape
        largest = max(np.abs(want).max(), 1.0)
        assert np.abs(got - want).max() <= 2 * TOLERANCE[dtype] * largest


@pytest.mark.gpu
@pytest.mark.parametrize("name", OPS)
def test_an_op_agrees_with_its_specification_on_the_gpu(name):
    if not gpu_works():
        pytest.skip("needs a GPU that CuPy can use")
    rng = np.random.default_rng(5)
    arrays = [rng.normal(size=size).astype(np.float32) for size in ((64, 264), 264, 264)]
    ids = mg.Tensor(rng.integers(4, 264, 64), device="cuda")

    def run():
        given = [mg.Tensor(array, device="cuda", requires_grad=True) for array in arrays]
        out = OPS[name](*given, ids)
        (out * out).sum().backward()
        return [wide(x.data) for x in (out, *(x.grad for x in given)) if x is not None]

    launched = run()
    with mg.use_kernels(False):
        specified = run()
    for got, want in zip(launched, specified, strict=True):
        assert np.abs(got - want).max() <= 1e-5 * max(np.abs(want).max(), 1.0)


@pytest.mark.parametrize("kind", [mg.optim.AdamW, mg.optim.Adam])
def test_an_optimizer_steps_as_its_array_code_does(kind, monkeypatch):
    take_gpu_kernels(monkeypatch)
    rng = np.random.default_rng(7)
    starts = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 31), (1,), (64,))]
    pulls = [[rng.normal(size=x.shape).astype(np.float32) for x in starts] for _ in range(3)]

    def run():
        parameters = [mg.Tensor(x, requires_grad=True) for x in starts]
        step = kind(parameters, lr=0.1, weight_decay=0.1)
        for grads in pulls:
            for p, g in zip(parameters, grads):
                p.grad = mg.Tensor(g)
            step.step()
        return [p.numpy().copy() for p in parameters]

    with watching() as reports:
        with mg.use_kernels(False):
            specified = run()
        assert not reports
        launched = run()
    assert len(reports) == len(pulls)
    for got, want in zip(launched, specified):
        np.testing.assert_allclose(got, want, rtol=2e-6, atol=2e-6)


# Bad input

x23, f32 = np.ones((2, 3), np.float32), np.float32
ONE_STEP = dict(lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.0, step=1)
REFUSED = {
    "dtype": (lambda: softmax.softmax.forward(np.ones((2, 3))), TypeError, "x is float64"),
    "no array": (lambda: softmax.softmax.forward([1.0]), TypeError, "x is list"),
    "axis": (lambda: softmax.softmax.forward(x23, axis=0), ValueError, "axis is 0"),
    "no axis": (lambda: softmax.softmax.forward(np.ones((), f32)), ValueError, "no axis"),
    "gradient": (
        lambda: softmax.softmax.backward(np.ones((2, 4), f32), (x23,)),
        ValueError,
        r"g has shape \(2, 4\)",
    ),
    "weight": (
        lambda: norm.layer_norm.forward(x23, np.ones(2, f32)),
        ValueError,
        r"weight is float32 \(2,\); expected float32 \(3,\)",
    ),
    "weight's dtype": (
        lambda: norm.rms_norm.forward(x23, np.ones(3, np.float16)),
        ValueError,
        "weight is float16",
    ),
    "class": (
        lambda: cross_entropy.cross_entropy.forward(x23, np.array([0, 3])),
        IndexError,
        r"targets hold 3 at \(1,\); expected 0 to 2",
    ),
    "negative class": (
        lambda: cross_entropy.cross_entropy.forward(x23, np.array([-1, 0])),
        IndexError,
        r"targets hold -1 at \(0,\)",
    ),
    "targets' dtype": (
        lambda: cross_entropy.cross_entropy.forward(x23, np.ones(2, f32)),
        TypeError,
        "targets are float32",
    ),
    "targets' shape": (
        lambda: cross_entropy.cross_entropy.forward(x23, np.ones(3, int)),
        ValueError,
        r"targets have shape \(3,\)",
    ),
    "no classes": (
        lambda: cross_entropy.cross_entropy.forward(x23[:, :0], np.ones(2, int)),
        ValueError,
        "V of at least 1",
    ),
    "largest of nothing": (lambda: reduce.reduce_max(x23[:0]), ValueError, "largest of nothing"),
    "middle axis": (lambda: reduce.reduce_sum(np.ones((2, 2, 2), f32), 1), ValueError, "axis is 1"),
    "numbers of arrays": (
        lambda: adamw.adamw_step([x23], [x23], [x23], [], **ONE_STEP),
        ValueError,
        "0 v for 1 parameters",
    ),
    "shapes": (
        lambda: adamw.adamw_step([x23], [x23.T], [x23], [x23], **ONE_STEP),
        ValueError,
        r"gradients\[0\] is float32 \(3, 2\)",
    ),
    "strides": (
        lambda: adamw.adamw_step([x23.T], [x23.T], [x23.T], [x23.T], **ONE_STEP),
        ValueError,
        r"parameters\[0\] \(3, 2\) is not C-contiguous",
    ),
    "no slots": (
        lambda: adamw.adamw_step([x23], [x23], [x23], None, **ONE_STEP),
        TypeError,
        "v is None",
    ),
    "one array twice": (
        lambda: adamw.adamw_step([x23], [x23.copy()], [x23], [x23.copy()], **ONE_STEP),
        ValueError,
        r"shares memory with",
    ),
    "memory that cannot be written": (
        lambda: adamw.adamw_step(
            [np.frombuffer(bytes(16), f32)], *([np.ones(4, f32)] for _ in range(3)), **ONE_STEP
        ),
        ValueError,
        r"parameters\[0\] cannot be written to",
    ),
    "master of float32": (
        lambda: adamw.adamw_step([x23], [x23], [x23], [x23], [x23], **ONE_STEP),
        TypeError,
        "a master is for those of 16 bits",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_bad_input_is_refused_before_launch(what):
    call, kind, message = REFUSED[what]
    with watching() as reports, pytest.raises(kind, match=message):
        call()
    assert not reports or "class" in what


def test_nothing_gives_nothing():
    for shape in ((0, 5), (3, 0), (2, 0, 4)):
        x, ids = np.ones(shape, f32), np.zeros(shape[:-1], int)
        with watching() as reports:
            out, saved = softmax.softmax.forward(x)
            assert softmax.softmax.backward(out, saved)[0].shape == out.shape == shape
            out, saved = norm.layer_norm.forward(
                x, np.ones(shape[-1], f32), np.ones(shape[-1], f32)
            )
            dx, dweight, dbias = norm.layer_norm.backward(out, saved)
            assert dx.shape == out.shape == shape and not dweight.any() and not dbias.any()
            assert reduce.reduce_sum(x, 0).shape == shape[1:]
        assert not reports or 0 not in shape[1:]
        if shape[-1]:
            loss, saved = cross_entropy.cross_entropy.forward(x, ids)
            assert np.isnan(loss) and saved[0] is x
    assert reduce.reduce_sum(np.ones((0, 3), f32)) == 0
    assert (reduce.reduce_sum(np.ones((0, 3), f32), 0) == 0).all()
    assert np.isnan(reduce.reduce_mean(np.ones(0, f32)))
    adamw.adamw_step([], [], [], [], **ONE_STEP)


def test_strided_and_misaligned_inputs_are_read_as_they_lie():
    rng = np.random.default_rng(8)
    whole = rng.normal(size=(40, 16)).astype(f32)
    for x in (whole.T, whole[::2, 1:9], whole.reshape(-1)[1:129].reshape(8, 16)):
        want = exact_softmax(x.astype(np.float64))
        np.testing.assert_allclose(softmax.softmax.forward(x)[0], want, rtol=1e-5, atol=1e-7)


def test_results_are_the_same_in_every_run():
    rng = np.random.default_rng(9)
    x, g = rng.normal(size=(2, 9, 65)).astype(f32)
    first, again = (norm.rms_norm.backward(g, norm.rms_norm.forward(x)[1]) for _ in range(2))
    for one, other in zip(first, again):
        np.testing.assert_array_equal(one, other)


class TestReduce(KernelTests):
    modules, cases, large = (reduce,), REDUCE, LARGE_REDUCE


class TestSoftmax(KernelTests):
    modules, cases, large = (softmax, softmax_long), SOFTMAX, LARGE_SOFTMAX


class TestNorm(KernelTests):
    modules, cases, large = (norm, norm_grad, _rows), NORM, LARGE_NORM
    unnoticed = UNNOTICED


class TestCrossEntropy(KernelTests):
    modules, cases, large = (cross_entropy,), LOSS, LARGE_LOSS


class TestAdamW(KernelTests):
    modules, cases = (adamw,), ADAMW
