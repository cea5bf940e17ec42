"""One new token against a long cache, whole and in pages; products with quantized weights."""

import cupy
import ml_dtypes
import numpy as np

from kernels.bench.measure import Row, copy_bandwidth, error, milliseconds, normal, require, section
from kernels.decode_attention import decode_attention, paged_decode_attention
from kernels.quantized import dequantize, quantize, quantized_matmul

PAGE = 64


@section("decode")
def decode():
    """Split-KV decode at 32k tokens, 8 KV heads, float16: bytes of K and V over the time."""
    bandwidth = copy_bandwidth()
    for B, heads in ((1, 32), (8, 32), (8, 8)):
        yield from decode_case(B, heads, bandwidth)


def decode_case(B, heads, bandwidth, S=32_768, n_kv=8, H=128):
    q = normal(B, heads, H, dtype=np.float16)
    k, v = (normal(B, n_kv, S, H, dtype=np.float16) for _ in range(2))
    lengths = cupy.full(B, S, np.int32)
    keys, values = (each[-1, 1].astype(cupy.float64) for each in (k, v))  # (S, H) of one head
    scores = q[-1, heads // n_kv :][: heads // n_kv].astype(cupy.float64) @ keys.T / H**0.5
    p = cupy.exp(scores - scores.max(axis=1, keepdims=True))
    want = p / p.sum(axis=1, keepdims=True) @ values
    share = slice(heads // n_kv, 2 * (heads // n_kv))  # the query heads of that KV head
    out = decode_attention(q, k, v, lengths)
    wrong = require("decode attention", error(out[-1, share], want), 3e-3)
    ms = milliseconds(lambda: decode_attention(q, k, v, lengths))
    rate = (k.nbytes + v.nbytes) / ms * 1000
    size = f"B {B}, {heads} query heads, {S // 1024}k x {n_kv} heads x {H}"
    yield Row(
        "decode attention, float16",
        size,
        ms,
        f"{rate / 1e12:.2f} TB/s",
        "device copy",
        rate / bandwidth,
        0.7,
        wrong,
    )
    count = B * S // PAGE
    table = cupy.random.permutation(count).astype(np.int32).reshape(B, S // PAGE)
    places = cupy.argsort(table.reshape(-1))

    def paged(x):
        parts = x.reshape(B, n_kv, S // PAGE, PAGE, H).swapaxes(1, 2).reshape(count, n_kv, PAGE, H)
        return cupy.ascontiguousarray(parts[places])

    k_pages, v_pages = paged(k), paged(v)
    out = paged_decode_attention(q, k_pages, v_pages, table, lengths)
    wrong = require("paged decode attention", error(out[-1, share], want), 3e-3)
    again = milliseconds(lambda: decode_attention(q, k, v, lengths))
    paged_ms = milliseconds(lambda: paged_decode_attention(q, k_pages, v_pages, table, lengths))
    yield Row(
        f"in pages of {PAGE}",
        size,
        paged_ms,
        f"{rate * ms / paged_ms / 1e12:.2f} TB/s",
        "contiguous",
        again / paged_ms,
        0.85,
        wrong,
    )


@section("quantized")
def quantized():
    """Products of one row with weights in few bits: their bytes over the time."""
    bandwidth = copy_bandwidth()
    for bits, group, minima in ((8, None, False), (4, 128, False), (4, 32, False), (4, 32, True)):
        weight = quantize(normal(8192, 28_672), bits, group, minima)
        exact = dequantize(weight).astype(cupy.float64)
        rows = (1, 8) if group == 128 else (1,)
        kinds = (
            (np.float16, ml_dtypes.bfloat16, np.float32) if group in (None, 128) else (np.float16,)
        )
        for M, dtype in [(M, kinds[0]) for M in rows] + [(1, kind) for kind in kinds[1:]]:
            x = normal(M, 8192).astype(dtype)
            y = quantized_matmul(x, weight).astype(cupy.float32)
            want = x.astype(cupy.float32).astype(cupy.float64) @ exact
            most = {"float16": 1e-3, "bfloat16": 5e-3, "float32": 1e-5}[x.dtype.name]
            wrong = require("quantized product", error(y, want), most)
            ms = milliseconds(lambda: quantized_matmul(x, weight))  # noqa: B023
            rate = weight.nbytes / ms * 1000
            scales = f"a scale for {group or 'all'}{', minima' if minima else ''}"
            yield Row(
                f"product, {bits} bits, {x.dtype.name}",
                f"{M} x 8192 x 28672, {scales}",
                ms,
                f"{rate / 1e12:.2f} TB/s",
                "device copy",
                rate / bandwidth,
                error=wrong,
            )
        del exact
