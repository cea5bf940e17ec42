"""Flash attention against PyTorch's, and against standard attention."""

import cupy
import numpy as np

from kernels.bench import measure
from kernels.bench.measure import (
    Peak,
    Row,
    dram_bytes,
    error,
    milliseconds,
    normal,
    require,
    section,
    told,
    torch,
)
from kernels.flash_attention import LADDER, attend, flash_attention
from kernels.flash_backward import flash_attention_backward

ROWS = {  # the cases of the table: B, heads, L, head width, causal
    "L 1024, d 64": (64, 16, 1024, 64, False),
    "L 1024, d 64, causal": (64, 16, 1024, 64, True),
    "L 4096, d 128": (4, 16, 4096, 128, False),
    "L 4096, d 128, causal": (4, 16, 4096, 128, True),
}


def attention_inputs(B, heads, L, width, dtype):
    """q, k, v, dout (B, heads, L, width)."""
    return [normal(B, heads, L, width, dtype=dtype) for _ in range(4)]


def exact_attention(q, k, v, dout, causal):
    """Output and gradients in float64 of one batch entry and one head, all (L, width)."""
    q, k, v, dout = (each.astype(cupy.float64) for each in (q, k, v, dout))
    scale = q.shape[-1] ** -0.5
    scores = q @ k.T * scale  # (L, L)
    if causal:
        scores = cupy.where(cupy.tri(len(q), len(k), dtype=bool), scores, -cupy.inf)
    p = cupy.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    dp = dout @ v.T
    ds = p * (dp - (dp * p).sum(axis=1, keepdims=True)) * scale
    return p @ v, ds @ k, ds.T @ q, p.T @ dout


def peer_attention(arrays, causal, backend):
    """(forward, backward) of PyTorch's attention on the same arrays, as calls; or None."""
    library = torch()
    if library is None:
        return None
    from torch.nn.attention import SDPBackend, sdpa_kernel

    q, k, v, dout = (library.as_tensor(each, device="cuda") for each in arrays)
    leaves = [each.clone().requires_grad_() for each in (q, k, v)]
    kind = getattr(SDPBackend, backend)

    def forward():
        with sdpa_kernel(kind):
            return library.nn.functional.scaled_dot_product_attention(*leaves, is_causal=causal)

    out = forward()

    def backward():
        return library.autograd.grad(out, leaves, dout, retain_graph=True)

    def forward_only():
        with library.no_grad():
            return forward()

    return forward_only, backward


@section("flash")
def flash():
    """fp16 attention, forward and backward, against PyTorch's flash backend; fp32 forward against
    its memory-efficient one."""
    for size, (B, heads, L, width, causal) in ROWS.items():
        yield from flash_case(
            size, B, heads, L, width, causal, np.float16, "FLASH_ATTENTION", (0.5, 0.35)
        )
    yield from flash_case(
        "L 4096, d 64", 4, 16, 4096, 64, False, np.float32, "EFFICIENT_ATTENTION", (0.6, None)
    )


def flash_case(size, B, heads, L, width, causal, dtype, backend, musts):
    """Forward and backward of one size."""
    arrays = q, k, v, dout = attention_inputs(B, heads, L, width, dtype)
    out, lse = flash_attention(q, k, v, causal=causal)
    grads = flash_attention_backward(dout, q, k, v, out, lse, causal=causal)
    last = B - 1, heads - 1
    want = exact_attention(*(each[last] for each in arrays), causal)
    most = 1e-5 if dtype == np.float32 else 3e-3
    found = [error(have[last], exact) for have, exact in zip((out, *grads), want)]
    del want
    name = f"{np.dtype(dtype).name} attention"
    require(name, found[0], most)
    require(name + " backward", max(found[1:]), 2 * most)
    peer = peer_attention(arrays, causal, backend)
    flop = 4 * B * heads * L * L * width * (0.5 if causal else 1)
    runs = (
        ("forward", lambda: flash_attention(q, k, v, causal=causal), flop),
        (
            "backward",
            lambda: flash_attention_backward(dout, q, k, v, out, lse, causal=causal),
            2.5 * flop,
        ),
    )
    size = f"B {B}, {heads} heads, {size}"
    for i, (what, run, work) in enumerate(runs):
        ms = milliseconds(run)
        theirs = milliseconds(peer[i]) if peer else None
        rate = f"{work / ms / 1e9:.0f} TFLOP/s"
        other = f"PyTorch {backend.lower()}: {theirs:.2f} ms" if peer else "-"
        share = theirs / ms if peer else None
        wrong = found[0] if i == 0 else max(found[1:])
        yield Row(f"{name}, {what}", size, ms, rate, other, share, musts[i], wrong)


@section("flash ladder")
def ladder():
    """Each rung of the forward ladder on one problem, float32 or float16 as it takes them."""
    B, heads, L, width = 4, 16, 2048, 128
    single = attention_inputs(B, heads, L, width, np.float32)
    flop, before = 4 * B * heads * L * L * width, None
    for rung in LADDER:
        dtype = np.float32 if "float32" in rung.dtypes else np.float16
        q, k, v, _ = arrays = [each.astype(dtype) for each in single]
        want = exact_attention(*(each[-1, -1] for each in arrays), False)[0]
        found = error(attend(rung, q, k, v)[0][-1, -1], want)
        require(rung.name, found, 1e-5 if dtype == np.float32 else 3e-3)
        ms = milliseconds(lambda rung=rung, q=q, k=k, v=v: attend(rung, q, k, v), least=5)
        note = told(rung, before, ms)
        size = f"{np.dtype(dtype).name}, B {B}, {heads} heads, L {L:,}, d {width}"
        yield Row(
            rung.name, size, ms, f"{flop / ms / 1e9:.1f} TFLOP/s", "-", None, None, found, note
        )
        before = ms


@section("published")
def published():
    """The published table's row: B 64, 16 heads, L 1024, d 64, forward and backward, time and
    device-memory bytes against standard attention."""
    size = "B 64, 16 heads, L 1024, d 64"
    ours, theirs, unfused = times_of_both()
    if theirs:
        peer = f"PyTorch math: {theirs:.1f} ms"
        yield Row("forward + backward", size, ours, "", peer, theirs / ours, 3.5)
    peer = f"CuPy, unfused: {unfused:.1f} ms"
    yield Row("forward + backward", size, ours, "", peer, unfused / ours)
    cupy.get_default_memory_pool().free_all_blocks()
    few, many = (None if measure.dry else dram_bytes(what) for what in ("flash", "standard"))
    if few and many:
        peer = f"PyTorch math: {many / 1e9:.1f} GB"
        yield Row("device-memory bytes", size, None, f"{few / 1e9:.2f} GB", peer, many / few, 9)


def times_of_both():
    """ms of our forward and backward, PyTorch's composed one (None without it) and CuPy's."""
    arrays = attention_inputs(64, 16, 1024, 64, np.float16)
    return (
        milliseconds(lambda: flash_both(arrays)),
        milliseconds(lambda: standard_both(arrays)) if torch() else None,
        milliseconds(lambda: cupy_both(arrays)),
    )


def flash_both(arrays):
    """Forward and backward by our kernels."""
    q, k, v, dout = arrays
    out, lse = flash_attention(q, k, v)
    return flash_attention_backward(dout, q, k, v, out, lse)


def standard_both(arrays):
    """Forward and backward by PyTorch's composed attention."""
    library = torch()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    q, k, v, dout = (library.as_tensor(each, device="cuda") for each in arrays)
    leaves = [each.detach().requires_grad_() for each in (q, k, v)]
    with sdpa_kernel(SDPBackend.MATH):
        out = library.nn.functional.scaled_dot_product_attention(*leaves)
    return library.autograd.grad(out, leaves, dout)


def cupy_both(arrays):
    """Forward and backward with every L x L array in memory, op by op."""
    q, k, v, dout = arrays
    scale = np.float16(q.shape[-1] ** -0.5)
    p = q * scale @ k.swapaxes(2, 3)  # (B, heads, L, L)
    p = cupy.exp(p - p.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    out = p @ v
    dv = p.swapaxes(2, 3) @ dout
    dp = dout @ v.swapaxes(2, 3)
    ds = p * (dp - (dout * out).sum(axis=-1, keepdims=True)) * scale
    return ds @ k, ds.swapaxes(2, 3) @ q, dv


def once(what):
    """One run of flash or standard attention between the profiler's marks."""
    arrays = attention_inputs(64, 16, 1024, 64, np.float16)
    run = (lambda: flash_both(arrays)) if what == "flash" else (lambda: standard_both(arrays))
    run()
    cupy.cuda.runtime.deviceSynchronize()
    cupy.cuda.runtime.profilerStart()
    run()
    cupy.cuda.runtime.deviceSynchronize()
    cupy.cuda.runtime.profilerStop()


@section("memory")
def memory():
    """Memory of flash attention, forward and backward, beyond its inputs, by length: outputs,
    gradients, log-sum-exps and all that is held between."""
    for L in (16_384, 65_536, 262_144):
        q, k, v, dout = attention_inputs(1, 4, L, 64, np.float16)
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        with Peak() as peak:
            start.record()
            out, lse = flash_attention(q, k, v, causal=True)
            grads = flash_attention_backward(dout, q, k, v, out, lse, causal=True)
            end.record()
            end.synchronize()
        assert measure.dry or all(bool(cupy.isfinite(each).all()) for each in (out, *grads))
        ms = cupy.cuda.get_elapsed_time(start, end)
        size = f"B 1, 4 heads, L {L:,}, d 64"
        used = f"{peak.most / 2**20:,.0f} MiB, {peak.most / L:,.0f} bytes a position"
        other = f"standard, one head's scores: {2 * L * L / 2**30:,.1f} GiB"
        yield Row("forward + backward, causal", size, ms, used, other, None)
        del q, k, v, dout, out, lse, grads
