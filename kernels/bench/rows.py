"""Kernels that memory bounds, one row or one element at a time."""

import cupy
import numpy as np

from kernels.adamw import adamw_step
from kernels.bench.measure import Row, copy_bandwidth, error, milliseconds, normal, require, section
from kernels.cross_entropy import cross_entropy
from kernels.norm import layer_norm, rms_norm
from kernels.softmax import softmax

WAITS = "cross-entropy,"  # its forward returns once it knows that all targets are classes


@section("rows")
def rows():
    """Softmax, norms, cross-entropy and AdamW: the bytes that must move, over the time, as a share
    of a device copy's bandwidth."""
    bandwidth = copy_bandwidth()
    yield Row("device copy", "1 GiB", None, f"{bandwidth / 1e12:.2f} TB/s", "-", None)
    for name, size, bytes_moved, run, check in row_cases():
        require(name, check(), 2e-2 if "16" in name else 1e-5)
        ms = milliseconds(run, calls=1 if name.startswith(WAITS) else None)
        rate = bytes_moved / ms * 1000
        yield Row(
            name, size, ms, f"{rate / 1e12:.2f} TB/s", "device copy", rate / bandwidth, 0.8, check()
        )


def row_cases():
    """(name, size, bytes that must move, call, its relative error as a call)."""
    for dtype in (np.float32, np.float16):
        for shape in ((16_384, 4096), (131_072, 1024)):
            yield from softmax_cases(shape, dtype)
            yield from norm_cases(shape, dtype)
        yield from loss_cases((8192, 50_304), dtype)
    yield from adamw_cases()


def named(what, dtype):
    return f"{what}, {np.dtype(dtype).name}"


def softmax_cases(shape, dtype):
    x, g = normal(*shape, dtype=dtype), normal(*shape, dtype=dtype)
    size = " x ".join(f"{n:,}" for n in shape)

    def forward_error():
        exact = cupy.exp(x[:64].astype(cupy.float64))
        return error(softmax.forward(x)[0][:64], exact / exact.sum(axis=1, keepdims=True))

    yield named("softmax", dtype), size, 2 * x.nbytes, lambda: softmax.forward(x), forward_error
    _, saved = softmax.forward(x)

    def backward_error():
        y, d = (each[:64].astype(cupy.float64) for each in (*saved, g))
        return error(
            softmax.backward(g, saved)[0][:64], y * (d - (y * d).sum(axis=1, keepdims=True))
        )

    yield (
        named("softmax backward", dtype),
        size,
        3 * x.nbytes,
        lambda: softmax.backward(g, saved),
        backward_error,
    )


def norm_cases(shape, dtype):
    x, g = normal(*shape, dtype=dtype), normal(*shape, dtype=dtype)
    weight, bias = normal(shape[1], dtype=dtype), normal(shape[1], dtype=dtype)
    size = " x ".join(f"{n:,}" for n in shape)
    exact = [each.astype(cupy.float64) for each in (x, weight, bias, g)]

    def normed():
        centred = exact[0] - exact[0].mean(axis=1, keepdims=True)
        return centred / cupy.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)

    def forward_error():
        return error(
            layer_norm.forward(x, weight, bias, eps=1e-5)[0], normed() * exact[1] + exact[2]
        )

    def weight_error():
        grads = layer_norm.backward(g, saved, eps=1e-5)
        return error(grads[1], (exact[3] * normed()).sum(axis=0))

    def rms_error():
        want = exact[0] / cupy.sqrt((exact[0] ** 2).mean(axis=1, keepdims=True) + 1e-5) * exact[1]
        return error(rms_norm.forward(x, weight, eps=1e-5)[0], want)

    yield (
        named("layer norm", dtype),
        size,
        2 * x.nbytes,
        lambda: layer_norm.forward(x, weight, bias, eps=1e-5),
        forward_error,
    )
    _, saved = layer_norm.forward(x, weight, bias, eps=1e-5)
    yield (
        named("layer norm backward", dtype),
        size,
        3 * x.nbytes,
        lambda: layer_norm.backward(g, saved, eps=1e-5),
        weight_error,
    )
    yield (
        named("RMS norm", dtype),
        size,
        2 * x.nbytes,
        lambda: rms_norm.forward(x, weight, eps=1e-5),
        rms_error,
    )
    _, rms_saved = rms_norm.forward(x, weight, eps=1e-5)

    def rms_weight_error():
        grads = rms_norm.backward(g, rms_saved, eps=1e-5)
        unit = exact[0] / cupy.sqrt((exact[0] ** 2).mean(axis=1, keepdims=True) + 1e-5)
        return error(grads[1], (exact[3] * unit).sum(axis=0))

    yield (
        named("RMS norm backward", dtype),
        size,
        3 * x.nbytes,
        lambda: rms_norm.backward(g, rms_saved, eps=1e-5),
        rms_weight_error,
    )


def loss_cases(shape, dtype):
    logits = normal(*shape, dtype=dtype)
    targets = cupy.random.randint(0, shape[1], shape[0])
    size = " x ".join(f"{n:,}" for n in shape)
    settings = dict(ignore_index=-100, label_smoothing=0.0, reduction="mean")

    def parts():
        rows = cupy.arange(64)
        x = logits[:64].astype(cupy.float64)
        top = x.max(axis=1, keepdims=True)
        lse = top + cupy.log(cupy.exp(x - top).sum(axis=1, keepdims=True))
        return x, lse, rows

    def forward_error():
        out = cross_entropy.forward(logits, targets, **(settings | {"reduction": "none"}))[0]
        x, lse, rows = parts()
        return error(out[:64], lse[:, 0] - x[rows, targets[:64]])

    def backward_error():
        x, lse, rows = parts()
        want = cupy.exp(x - lse)
        want[rows, targets[:64]] -= 1
        return error(
            cross_entropy.backward(g, saved, (True, False), **settings)[0][:64], want / shape[0]
        )

    _, saved = cross_entropy.forward(logits, targets, **settings)
    g = cupy.ones((), np.float32)
    yield (
        named("cross-entropy", dtype),
        size,
        logits.nbytes,
        lambda: cross_entropy.forward(logits, targets, **settings),
        forward_error,
    )
    yield (
        named("cross-entropy backward", dtype),
        size,
        2 * logits.nbytes,
        lambda: cross_entropy.backward(g, saved, (True, False), **settings),
        backward_error,
    )


def adamw_cases():
    """124 million parameters, the shapes of GPT-2."""
    shapes = [(50_304, 768), (1024, 768)] + 12 * [
        (768, 2304),
        (768, 768),
        (768, 3072),
        (3072, 768),
        (768,),
        (768,),
    ]
    settings = dict(lr=1e-3, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1)
    for dtype in (np.float32, np.float16):
        p, g, m = (
            [normal(*shape, dtype=dtype if i < 2 else np.float32) for shape in shapes]
            for i in range(3)
        )
        v = [each**2 for each in m]
        master = None if dtype == np.float32 else [each.astype(np.float32) for each in p]
        # g read and p written; m, v and what decides (p or its master) read and written
        moved = sum(2 * each.nbytes + 16 * each.size for each in p)
        moved += sum(each.nbytes if master is None else 8 * each.size for each in p)

        def wrong(p=p, g=g, m=m, v=v, master=master):
            x, y, first, second = (
                (master or p)[2].astype(cupy.float64),
                *(each[2].astype(cupy.float64) for each in (g, m, v)),
            )
            adamw_step(p, g, m, v, master, step=3, **settings)
            first, second = 0.9 * first + 0.1 * y, 0.95 * second + 0.05 * y * y
            want = x * (1 - 1e-4) - 1e-3 / (1 - 0.9**3) * first / (
                cupy.sqrt(second / (1 - 0.95**3)) + 1e-8
            )
            return error((master or p)[2], want)

        name = named("AdamW", dtype) + ("" if master is None else ", float32 master")
        size = f"{sum(each.size for each in p) / 1e6:.0f} M parameters"
        yield (
            name,
            size,
            moved,
            lambda a=(p, g, m, v, master): adamw_step(*a, step=3, **settings),
            wrong,
        )
