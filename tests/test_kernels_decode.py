"""Decoding: attention split over the sequence, paged or not, and products with weights in few bits,
against float64."""

import ml_dtypes
import numpy as np
import pytest
from kernel_harness import KernelTests

from kernels import decode_attention, quantized
from minigrad.models.quants import KINDS
from minigrad.models.quants import dequantize as dequantize_gguf

TOLERANCE = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 3e-6}


def attention(q, k, v, lengths, scale):
    """(out, lse) in float64, a row at a time."""
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    out, lse = np.zeros(q.shape), np.full(q.shape[:-1], -np.inf)
    group, tokens = q.shape[1] // k.shape[1], q.shape[2]
    for b, h, t in np.ndindex(q.shape[:3]):
        allowed = lengths[b] - (tokens - 1 - t)
        if allowed > 0:
            scores = k[b, h // group, :allowed] @ q[b, h, t] * scale
            powers = np.exp(scores - scores.max())
            out[b, h, t] = powers @ v[b, h // group, :allowed] / powers.sum()
            lse[b, h, t] = np.log(powers.sum()) + scores.max()
    return out, lse


def pages_of(cache, page, rng):
    """The same cache in pages, which lie in any order among others full of NaN, and the table."""
    batch, heads, size, width = cache.shape
    each = -(-size // page)
    table = rng.permutation(batch * each + 3)[: batch * each].reshape(batch, each)
    pages = np.full((batch * each + 3, heads, page, width), np.nan, cache.dtype)
    for b, i in np.ndindex(batch, each):
        rows = cache[b, :, page * i : page * (i + 1)]
        pages[table[b, i], :, : rows.shape[1]] = rows
    return pages, table.astype(np.int32)


def case(dtype, lengths, heads=(2, 1), H=64, tokens=1, page=0, scale=None, parts=None, size=None):
    """A case of decoding with caches whose unused ends hold NaN."""
    dtype = np.dtype(dtype)

    def run(put, rng):
        lengths_ = np.array(lengths, np.int32)
        q = rng.normal(size=(len(lengths), heads[0], tokens, H)).astype(dtype)
        k, v = (
            rng.normal(size=(len(lengths), heads[1], size or max(lengths) + 1, H)).astype(dtype)
            for _ in range(2)
        )
        for b, length in enumerate(lengths):
            k[b, :, length:] = v[b, :, length:] = np.nan
        want, want_lse = attention(q, k, v, lengths, H**-0.5 if scale is None else scale)
        q = put(q if tokens > 1 else q[:, :, 0])
        options = dict(scale=scale, parts=parts, return_lse=True)
        if page:
            seed = int(rng.integers(2**32))
            pages, table = zip(*(pages_of(x, page, np.random.default_rng(seed)) for x in (k, v)))
            out, lse = decode_attention.paged_decode_attention(
                q, put(pages[0]), put(pages[1]), put(table[0]), put(lengths_), **options
            )
        else:
            out, lse = decode_attention.decode_attention(
                q, put(k), put(v), put(lengths_), **options
            )
        tolerance = TOLERANCE[dtype.name]
        return [
            (out, want.reshape(out.shape), tolerance),
            (lse, want_lse.reshape(lse.shape), 1e-5),
        ]

    return run


BF16 = ml_dtypes.bfloat16
CASES = {
    "float16, one token": case("float16", [1], H=32),
    "float16, ragged with an empty one": case("float16", [33, 0, 65], heads=(6, 2), parts=2),
    "float16, width 128, chosen parts": case("float16", [31], heads=(4, 1), H=128),
    "float16, two tokens, more than 8 rows": case("float16", [1, 20], heads=(5, 1), tokens=2),
    "bfloat16, width 80, pages of 16": case(BF16, [33, 50], H=80, page=16, parts=2),
    "float16, pages of 32": case("float16", [65], heads=(3, 1), H=32, page=32, scale=0.3),
    "bfloat16, width 96": case(BF16, [129], heads=(1, 1), H=96, parts=1),
    "float32, ragged with an empty one": case("float32", [33, 0, 65], heads=(6, 2), parts=2),
    "float32, width 32, two tokens": case("float32", [1, 31], H=32, tokens=2),
    "float32, width 128, pages of 64": case("float32", [70], H=128, page=64),
    "float32, width 80": case("float32", [17], heads=(1, 1), H=80),
    "float32, nine rows": case("float32", [9], heads=(9, 1), H=32),
}
_REAL = dict(heads=(32, 8), H=128)
LARGE = {
    f"{np.dtype(dtype).name}, {kind}": case(dtype, [8192, 0, 33, 5001], **options)
    for dtype in ("float16", BF16, "float32")
    for kind, options in {
        "contiguous": _REAL,
        "width 64, 12 heads share 4": dict(heads=(12, 4), H=64),
        "width 256": dict(heads=(8, 8), H=256),
        "pages of 16": _REAL | dict(page=16),
        "pages of 64, four tokens": _REAL | dict(page=64, tokens=4),
    }.items()
}


class TestDecodeAttention(KernelTests):
    modules, cases, large = (decode_attention,), CASES, LARGE


def _arguments(**changes):
    cache = np.ones((2, 2, 16, 32), np.float16)
    given = dict(
        q=np.ones((2, 4, 32), np.float16), k=cache, v=cache, lengths=np.array([16, 3], "i4")
    )
    return given | changes


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (dict(q=np.ones((2, 4, 32))), TypeError, "q is float64"),
        (dict(q=np.ones((2, 4, 48), np.float16)), ValueError, "width 48; expected 32, 64"),
        (dict(q=np.ones((2, 3, 32), np.float16)), ValueError, "3 query heads do not share 2"),
        (dict(q=np.ones((2, 4, 1, 1, 32), np.float16)), ValueError, r"expected \(B, n_h, H\)"),
        (dict(k=np.ones((2, 2, 16, 32), np.float32)), TypeError, "k is float32"),
        (dict(v=np.ones((2, 2, 15, 32), np.float16)), ValueError, "v has shape"),
        (dict(k=np.ones((2, 2, 32, 32), np.float16)[:, :, ::2]), ValueError, "k is not C-cont"),
        (dict(lengths=np.array([16, 3])), TypeError, "lengths is int64; expected int32"),
        (
            dict(lengths=np.array([17, 3], np.int32)),
            ValueError,
            "run from 3 to 17; expected 0 to 16",
        ),
        (dict(lengths=np.array([1], np.int32)), ValueError, "lengths has shape"),
        (dict(q="q"), TypeError, "q is str"),
        (dict(parts=0), ValueError, "parts is 0; expected 1 to 256"),
    ],
)
def test_decode_attention_refuses_what_does_not_fit(changes, error, message):
    with pytest.raises(error, match=message):
        decode_attention.decode_attention(**_arguments(**changes))


def test_pages_have_one_of_three_sizes():
    pages = np.ones((5, 2, 8, 32), np.float16)
    with pytest.raises(ValueError, match="pages of 8 tokens; expected 16, 32, 64"):
        decode_attention.paged_decode_attention(
            **_arguments(k=pages, v=pages, table=np.zeros((2, 2), np.int32))
        )


def test_a_table_that_names_no_page_gives_nan_for_its_sequence_alone():
    pages = np.ones((3, 2, 16, 32), np.float16)
    table = np.array([[0, 3], [2, 7]], np.int32)
    out = decode_attention.paged_decode_attention(
        **_arguments(k=pages, v=pages, table=table, lengths=np.array([32, 16], np.int32))
    )
    assert np.isnan(out[0]).all() and (out[1] == 1).all()


def test_no_sequences_give_no_output():
    cache = np.ones((0, 2, 16, 32), np.float16)
    out, lse = decode_attention.decode_attention(
        np.ones((0, 4, 32), np.float16), cache, cache, np.zeros(0, np.int32), return_lse=True
    )
    assert (out.shape, lse.shape) == ((0, 4, 32), (0, 4))


def test_parts_fill_the_device_without_a_nearly_empty_last_round():
    for rows in (1, 3, 8, 24, 64, 100):
        parts = decode_attention.parts_for(rows, 32768, 8, 132)
        rounds = -(-rows * parts // 132)
        assert rows * parts / (132 * rounds) > 0.9


# Products with weights in few bits


def weights(rng, K, N, **kind):
    """A weight whose groups have minima, extremes, signs and sizes of their own."""
    w = rng.normal(size=(K, N)) * rng.uniform(0.1, 3, (K // 32, N)).repeat(32, axis=0)
    return quantized.quantize((w + rng.normal(size=(1, N))).astype(np.float32), **kind)


def product_case(dtype, shape, N, tiles=1, warps=2, gguf=None, **kind):
    """x W against the float64 product with the weight's exact values."""
    dtype = np.dtype(dtype)

    def run(put, rng):
        x = rng.normal(size=shape).astype(dtype)
        weight = weights(rng, shape[-1], N, **kind)
        want = x.astype(np.float64) @ exact(weight)
        if gguf:
            weight = quantized.from_gguf(gguf_bytes(weight), gguf)
        weight = quantized.QuantizedWeight(*(None if x is None else put(x) for x in weight))
        y = quantized.quantized_matmul(put(x), weight, tiles=tiles, warps=warps)
        return [(y, want, TOLERANCE[dtype.name])]

    return run


def exact(weight):
    """A weight's matrix, float64."""
    spread = weight.shape[0] // len(weight.scales)
    whole = quantized.integers(weight).astype(np.float64)
    w = whole * weight.scales.astype(np.float64).repeat(spread, axis=0)
    return (
        w if weight.minima is None else w + weight.minima.astype(np.float64).repeat(spread, axis=0)
    )


def gguf_bytes(weight):
    """A weight in groups of 32 as blocks of a GGUF file, uint8 (N, bytes)."""
    N = weight.shape[1]
    parts = [weight.scales] + ([] if weight.minima is None else [weight.minima])
    parts = [np.ascontiguousarray(part.T)[:, :, None].view(np.uint8) for part in parts]
    values = weight.values.view(np.uint8).reshape(N, weight.shape[0] // 32, -1)
    return np.concatenate([*parts, values], axis=2).reshape(N, -1)


PRODUCTS = {
    "8 bits, a scale an output": product_case("float16", (1, 160), 24, bits=8),
    "8 bits in groups, bfloat16": product_case(BF16, (2, 3, 288), 40, bits=8, group=32, tiles=2),
    "8 bits, float32": product_case("float32", (3, 160), 8, bits=8, gguf="Q8_0", group=32),
    "4 bits, groups of 32": product_case("float16", (8, 544), 24, bits=4, group=32, gguf="Q4_0"),
    "4 bits, groups of 64 with minima": product_case(
        "float16", (4, 320), 16, bits=4, group=64, minima=True, tiles=2
    ),
    "4 bits, a scale an output": product_case(BF16, (5, 96), 8, bits=4),
    "4 bits, groups of 32 with minima, float32": product_case(
        "float32", (2, 288), 24, bits=4, group=32, minima=True, gguf="Q4_1"
    ),
    "4 bits, groups of 128, bfloat16": product_case(BF16, (1, 640), 8, bits=4, group=128, warps=8),
}
LARGE_PRODUCTS = {
    f"{np.dtype(dtype).name}, {M} rows, {bits} bits, {group}, {minima}": product_case(
        dtype, (M, 4096), 4104, tiles=None, warps=8, bits=bits, group=group, minima=minima
    )
    for dtype in ("float16", BF16, "float32")
    for M, bits, group, minima in ((1, 8, None, False), (8, 4, 32, True), (3, 4, 128, False))
}


class TestQuantizedProduct(KernelTests):
    modules, cases, large = (quantized,), PRODUCTS, LARGE_PRODUCTS


@pytest.mark.parametrize(("bits", "minima"), [(8, False), (4, False), (4, True)])
@pytest.mark.parametrize("group", [32, 128])
def test_quantizing_is_off_by_half_a_scale_at_most(bits, minima, group):
    rng = np.random.default_rng(bits + group)
    w = (rng.normal(size=(256, 24)) * 10.0 ** rng.integers(-2, 2, (1, 24))).astype(np.float32)
    weight = quantized.quantize(w, bits, group, minima)
    scales = weight.scales.astype(np.float64).repeat(group, axis=0)
    # Rounding the scale itself, and the minimum, to float16 moves the ends of the range.
    ends = (128 if bits == 8 else 16) * np.abs(scales) + np.abs(w).max(0)
    signed = 1 if bits == 4 and not minima else 0.5  # 7 is the most on the side that has no −8
    assert (np.abs(exact(weight) - w) <= signed * np.abs(scales) + ends * 2.0**-11).all()
    np.testing.assert_allclose(quantized.dequantize(weight), exact(weight), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "bits", "minima"), [("Q4_0", 4, False), ("Q4_1", 4, True), ("Q8_0", 8, False)]
)
def test_blocks_of_gguf_files_mean_the_same_here_and_there(kind, bits, minima):
    rng = np.random.default_rng(bits)
    raw = gguf_bytes(weights(rng, 96, 16, bits=bits, group=32, minima=minima))
    theirs = np.empty((16, 96), np.float32)
    dequantize_gguf(raw, next(each for each in KINDS.values() if each.name == kind), theirs)
    np.testing.assert_array_equal(quantized.dequantize(quantized.from_gguf(raw, kind)).T, theirs)


def test_a_group_of_zeros_stays_zero():
    weight = quantized.quantize(np.zeros((64, 8), np.float32), 4, 32, minima=True)
    x = np.ones((1, 64), np.float32)
    assert (quantized.quantized_matmul(x, weight) == 0).all()


@pytest.mark.parametrize(
    ("w", "options", "message"),
    [
        (np.ones((33, 8)), {}, r"w has shape \(33, 8\)"),
        (np.ones((32, 7)), {}, r"w has shape \(32, 7\)"),
        (np.ones((32, 8)), dict(bits=5), "there is no such kind"),
        (np.ones((96, 8)), dict(group=64), "groups of 64 do not divide 96 inputs"),
        (np.ones((32, 8)), dict(bits=8, group=32, minima=True), "there is no such kind"),
        (np.full((32, 8), 1e8), {}, "too large for a float16 scale"),
        (np.full((32, 8), np.nan), {}, "not finite"),
    ],
)
def test_quantize_refuses_what_does_not_fit(w, options, message):
    with pytest.raises(ValueError, match=message):
        quantized.quantize(w, **options)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.ones((1, 64)), TypeError, "x is float64"),
        (np.ones((1, 32), np.float16), ValueError, "the inputs differ"),
        (np.ones((3, 3, 64), np.float16), ValueError, "x has 9 rows"),
        (np.ones((64, 2), np.float16).T, ValueError, "x is not C-contiguous"),
    ],
)
def test_a_product_refuses_what_does_not_fit(x, error, message):
    weight = quantized.quantize(np.eye(64, 16, dtype=np.float32), 4, 32)
    with pytest.raises(error, match=message):
        quantized.quantized_matmul(x, weight)


def test_a_product_of_no_rows_is_empty():
    weight = quantized.quantize(np.eye(64, 16, dtype=np.float32), 8)
    assert quantized.quantized_matmul(np.ones((2, 0, 64), np.float16), weight).shape == (2, 0, 16)
